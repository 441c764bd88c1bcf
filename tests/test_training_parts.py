"""The parts of the training room: holes, augmentation, discriminator, losses, backbones, sampling and settings."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from objremove import segmentation
from objremove.errors import ModelError, PhotoError, UsageError

pytest.importorskip("lightning")

from objremove.segmentation.slim_deeplab import SlimDeepLab
from objremove.training import efficientnet_lite, losses
from objremove.training.agreement import Agreement
from objremove.training.augment import augment
from objremove.training.clock import Clock, learning_rate
from objremove.training.config import (
    AugmentConfig,
    InpainterConfig,
    MaskConfig,
    SegmenterConfig,
    load_config,
    shipped,
)
from objremove.training.discriminator import NLayerDiscriminator
from objremove.training.efficientnet_lite import ConvNorm, EfficientNetLite
from objremove.training.ema import Ema
from objremove.training.export import load_weights
from objremove.training.files import read_records
from objremove.training.library import PhotoLibrary, ShapeBank, sampling_weights
from objremove.training.lite_deeplab import LiteDeepLab
from objremove.training.loop import make_fabric
from objremove.training.mask_generators import LARGE, NARROW, MixedMask, make_masks
from objremove.training.perceptual import Ade20kEncoder, PerceptualLoss, SqueezeNetFeatures, load_backbone
from objremove.training.segmenter_augment import cut_mix, mix_up
from objremove.training.share import processors
from objremove.training.stream import BatchStream, worker_count
from objremove.training.teachers import load_teacher
from objremove.training.tolerance import Tolerance

# Published statistics of the holes (1,500 samples): mean, 5 % and 95 % quantile of the area, share of holes above half the area,
# mean of the others, and median of the widest hole in pixels.
STATISTICS = {
    "large": (LARGE, 0.354, (0.064, 0.750), 0.241, 0.259, 113),
    "narrow": (NARROW, 0.225, (0.040, 0.513), 0.057, 0.205, 64),
}


@pytest.mark.parametrize("kind", STATISTICS)
def test_holes_have_the_published_statistics(kind: str) -> None:
    generator, mean, (low, high), share_large, mean_of_others, width = STATISTICS[kind]
    rng, count = np.random.default_rng(0), 1500
    masks = [generator(rng, 256, 256) for _ in range(count)]
    area = np.array([mask.mean() for mask in masks])
    widest = [2 * cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5).max() for mask in masks[:500]]

    # Three standard errors; the published figures have an error of the same size, hence the factor sqrt(2).
    error = 3 * np.sqrt(2 / count)
    others = area[area <= 0.5]
    assert abs(area.mean() - mean) < error * area.std()
    assert abs((area > 0.5).mean() - share_large) < error * np.sqrt(share_large * (1 - share_large))
    assert abs(others.mean() - mean_of_others) < error * others.std() + 0.001
    assert np.quantile(area, 0.05) == pytest.approx(low, abs=0.015)
    assert np.quantile(area, 0.95) == pytest.approx(high, abs=0.04)
    assert np.median(widest) == pytest.approx(width, rel=0.08)


def test_a_hole_is_a_function_of_the_seed_and_never_empty_or_everything() -> None:
    generator: MixedMask = make_masks(MaskConfig(shapes=1), lambda rng: np.ones((40, 20), np.bool_))
    for seed in range(50):
        first, second = (generator(np.random.default_rng(seed), 96, 128) for _ in range(2))
        assert first.shape == (96, 128)
        assert first.dtype == np.bool_
        assert np.array_equal(first, second)
        assert first.any()
        assert not first.all()


def test_augmentation_keeps_pixels_when_everything_is_off_and_mirrors_beyond_the_photo() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    still = AugmentConfig(probability=0)
    crop = augment(photo, 64, np.random.default_rng(1), still)
    places = [
        (y, x)
        for y in range(17)
        for x in range(57)
        for view in (photo[y : y + 64, x : x + 64], photo[y : y + 64, x : x + 64][:, ::-1])
        if np.array_equal(view, crop)
    ]
    assert len(places) == 1
    white = np.full((40, 40, 3), 255, np.uint8)
    assert (augment(white, 96, np.random.default_rng(2), still) == 255).all(), "no black border around a small photo"
    everything = AugmentConfig(probability=1)
    for seed in range(10):
        changed = augment(photo, 64, np.random.default_rng(seed), everything)
        assert changed.shape == (64, 64, 3)
        assert changed.dtype == np.uint8


def test_two_crops_in_one_keep_the_labels_of_what_shows() -> None:
    dark, light = np.full((96, 96, 3), 40, np.uint8), np.full((96, 96, 3), 200, np.uint8)
    cat, dog = np.full((96, 96), 8, np.uint8), np.full((96, 96), 12, np.uint8)
    cat[:20] = dog[:20] = 0
    shares, tones = set(), set()
    for seed in range(40):
        photo, labels = cut_mix(dark, cat, light, dog, np.random.default_rng(seed))
        pasted = photo[..., 0] == 200
        rows, columns = pasted.any(1), pasted.any(0)
        assert np.array_equal(pasted, rows[:, None] & columns[None]), "one box, at the place it had"
        assert 0.2 * 96 - 1 <= min(rows.sum(), columns.sum()) <= max(rows.sum(), columns.sum()) <= 0.8 * 96 + 1
        assert np.array_equal(labels, np.where(pasted, dog, cat))
        shares.add(int(pasted.sum()))

        photo, labels = mix_up(dark, cat, light, dog, np.random.default_rng(seed))
        assert len(np.unique(photo)) == 1
        assert 40 <= photo[0, 0, 0] <= 200
        assert (labels[:20] == 0).all(), "background in both is background"
        assert (labels[20:] == 255).all(), "nobody knows what a cat over a dog is"
        tones.add(int(photo[0, 0, 0]))
    assert len(shares) > 30
    assert len(tones) > 30
    assert (dark == 40).all()
    assert (cat[20:] == 8).all()


def test_discriminator_has_the_published_keys_shapes_and_size() -> None:
    network = NLayerDiscriminator()
    state = network.state_dict()
    assert sum(parameter.numel() for parameter in network.parameters()) == 6_962_369
    convolutions = {f"model{i}.0.{part}" for i in range(6) for part in ("weight", "bias")}
    norms = {
        f"model{i}.1.{part}"
        for i in range(1, 5)
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert state.keys() == convolutions | norms
    assert [tuple(state[f"model{i}.0.weight"].shape) for i in range(6)] == [
        (64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4), (512, 512, 4, 4), (1, 512, 4, 4),
    ]  # fmt: skip
    logits, features = network(torch.rand(1, 3, 256, 256))
    assert logits.shape == (1, 1, 19, 19)
    assert [tuple(f.shape[1:]) for f in features] == [
        (64, 129, 129), (128, 65, 65), (256, 33, 33), (512, 17, 17), (512, 18, 18),
    ]  # fmt: skip


def test_losses_on_values_that_can_be_worked_out_by_hand() -> None:
    predicted, real = torch.full((1, 3, 4, 4), 0.75), torch.full((1, 3, 4, 4), 0.25)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    assert losses.masked_l1(predicted, real, mask, known=10, hole=0).item() == pytest.approx(10 * 0.5 * 0.5)
    sure_fake, sure_real = torch.full((1, 1, 4, 4), -30.0), torch.full((1, 1, 4, 4), 30.0)
    assert losses.generator_adversarial(sure_fake).item() == pytest.approx(30)
    # Known patches of the prediction count as real: calling the hole fake and the rest real costs nothing.
    right = torch.where(mask > 0, sure_fake, sure_real)
    assert losses.discriminator_adversarial(sure_real, right, mask).item() == pytest.approx(0, abs=1e-6)
    assert losses.discriminator_adversarial(sure_real, sure_fake, mask).item() == pytest.approx(15, rel=1e-4)
    assert losses.feature_matching([torch.ones(1, 2), torch.zeros(1, 3)], [torch.zeros(1, 2), torch.zeros(1, 3)]) == 0.5


def test_r1_is_the_squared_norm_of_the_gradient_and_reaches_the_weights() -> None:
    weight = torch.tensor(3.0, requires_grad=True)
    real = torch.rand(2, 3, 4, 4, requires_grad=True)
    penalty = losses.r1_penalty(weight * real, real)
    assert penalty.item() == pytest.approx(9 * 3 * 16)
    penalty.backward()
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx(6 * 3 * 16)


def test_ade20k_encoder_has_the_published_size_and_strides() -> None:
    network = Ade20kEncoder().eval()
    assert sum(p.numel() for p in network.parameters()) == 23_631_808
    assert len(network.state_dict()) == 330
    with torch.no_grad():
        assert [tuple(f.shape[1:]) for f in network(torch.rand(1, 3, 64, 64))] == [
            (256, 16, 16), (512, 8, 8), (1024, 8, 8), (2048, 8, 8),
        ]  # fmt: skip


@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 2, 32), (5, 2, 32), (3, 2, 33), (5, 2, 31), (5, 1, 32)])
def test_efficientnet_pads_as_tensorflow_does(kernel: int, stride: int, size: int) -> None:
    layer = ConvNorm(1, 1, kernel, stride=stride).eval()
    image = torch.rand(1, 1, size, size)
    # TensorFlow's `SAME`: as many answers as strides fit, begun or not, and what is lacking for that is added, the odd pixel at the end.
    answers = -(-size // stride)
    lacking = max(0, (answers - 1) * stride + kernel - size)
    padded = torch.nn.functional.pad(image, (lacking // 2, lacking - lacking // 2) * 2)
    expected = torch.nn.functional.conv2d(padded, layer.conv.weight, stride=stride)
    assert layer(image).shape[2:] == (answers, answers)
    assert torch.allclose(layer(image), layer.norm(expected), atol=1e-6)


def test_a_dilated_efficientnet_sees_what_the_strided_one_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 192, 256)
    dense = EfficientNetLite()
    for module in dense.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    dense(picture)  # so that the norms keep features at the scale of a trained network's
    dense.eval()
    strided_again = [stage._replace(stride=2) if stage.channels == 192 else stage for stage in efficientnet_lite.STAGES]
    monkeypatch.setattr(efficientnet_lite, "STAGES", [stage._replace(dilation=1) for stage in strided_again])
    classifier = EfficientNetLite().eval()
    classifier.load_state_dict(dense.state_dict())
    with torch.no_grad():
        (low, high), (expected_low, expected) = dense(picture), classifier(picture)
    assert (high.shape, expected.shape) == ((1, 1280, 12, 16), (1, 1280, 6, 8))
    assert torch.equal(low, expected_low)
    assert torch.allclose(high[..., 1::2, 1::2], expected, atol=1e-3), "the same features, twice as dense"
    assert expected.std() > 0.1


def test_a_teachers_features_sit_where_the_picture_shows_them() -> None:
    torch.manual_seed(0)
    network = LiteDeepLab(21).eval()
    picture = torch.rand(1, 3, 256, 256)
    centre = 128
    spotted = picture.clone()
    spotted[..., centre - 16 : centre + 16, centre - 16 : centre + 16] = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        for before, after, stride in zip(network.encode(picture), network.encode(spotted), (8, 16), strict=True):
            assert before.shape[2:] == (256 // stride, 256 // stride)
            change = (after - before).abs().sum((0, 1))
            places = (torch.arange(256 // stride) + 0.5) * stride
            for axis in (0, 1):
                middle = float((change.sum(axis) * places).sum() / change.sum())
                assert abs(middle - centre) < 0.2 * stride, "half a cell off without the padding"
        assert [tuple(each.shape[2:]) for each in network.encode(torch.rand(1, 3, 65, 97))] == [(9, 13), (5, 7)]


def test_perceptual_loss_is_zero_for_equals_grows_with_blur_and_looks_only_into_the_hole() -> None:
    torch.manual_seed(0)
    loss = PerceptualLoss([SqueezeNetFeatures()])
    real = torch.rand(1, 3, 64, 64)
    slightly, strongly = (torch.nn.functional.avg_pool2d(real, k, 1, k // 2, count_include_pad=False) for k in (3, 9))
    assert loss(real, real).item() == 0
    assert 0 < loss(slightly, real).item() < loss(strongly, real).item()
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :16, :16] = 1
    elsewhere = real.clone()
    elsewhere[..., 60:] = 0
    assert loss(elsewhere, real, mask).item() < 0.2 * loss(elsewhere, real).item()


def test_backbones_are_told_by_their_keys(tmp_path: Path) -> None:
    encoder = tmp_path / "encoder_epoch_20.pth"
    torch.save(Ade20kEncoder().state_dict(), encoder)
    assert isinstance(load_backbone(encoder), Ade20kEncoder)
    other = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(1)}, other)
    with pytest.raises(ModelError, match="no perceptual backbone"):
        load_backbone(other)


def _lesser_segmenter() -> dict[str, torch.Tensor]:
    """A state as earlier runs wrote it: two blocks of stride 16, no refinement, no norm that silences its block."""
    torch.manual_seed(2)
    network = SlimDeepLab(16, depth=2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return {key: value for key, value in network.state_dict().items() if not key.startswith("refinement.")}


def test_a_lesser_segmenter_grows_without_answering_differently_at_first(tmp_path: Path) -> None:
    state = _lesser_segmenter()
    save_file(state, tmp_path / "lesser.safetensors")
    lesser, grown = SlimDeepLab.of(state).eval(), SlimDeepLab(16)
    load_weights(grown, tmp_path / "lesser.safetensors")
    assert (len(lesser.stage3), len(grown.stage3)) == (2, 4)
    image = torch.rand(1, 3, 64, 80)
    expected = lesser(image)["out"]
    assert expected.std() > 0.01
    assert torch.equal(grown.eval()(image)["out"], expected)

    loss = grown.train()(image)["out"].square().mean()
    loss.backward()
    for name in ("stage3.3.conv2.1.weight", "refinement.classifier.weight"):
        assert grown.get_parameter(name).grad.abs().max() > 0, f"{name} can learn"
    found = segmentation.load(tmp_path / "lesser.safetensors", device=torch.device("cpu"), dtype=torch.float32)
    assert isinstance(found.find(np.zeros((64, 80, 3), np.uint8), ["person"]), list)
    assert load_backbone(tmp_path / "lesser.safetensors")(image)[-1].shape == (1, 96, 4, 5)
    assert load_teacher(tmp_path / "lesser.safetensors")(torch.rand(2, 3, 64, 80)).logits.shape == (2, 21, 16, 20)


@pytest.mark.parametrize("lost", ["stage3.1.conv2.0.weight", "stage3.0.", "stem.", "classifier."])
def test_growing_makes_up_for_nothing_else(tmp_path: Path, lost: str) -> None:
    state = {key: value for key, value in _lesser_segmenter().items() if not key.startswith(lost)}
    save_file(state, tmp_path / "damaged.safetensors")
    with pytest.raises(ModelError, match="give weights of the same network"):
        load_weights(SlimDeepLab(16), tmp_path / "damaged.safetensors")


def test_average_follows_weights_and_statistics_and_copies_counters() -> None:
    network = torch.nn.BatchNorm2d(2)
    average = Ema(network, 0.5)
    network.weight.data.fill_(3)
    network.running_mean.fill_(4)
    network.num_batches_tracked.fill_(7)
    average.update(network, step=100)
    assert average.network.weight.tolist() == [2, 2]
    assert average.network.running_mean.tolist() == [2, 2]
    assert average.network.num_batches_tracked == 7
    assert not average.network.training


def test_batches_are_a_function_of_seed_rank_and_step() -> None:
    def sample(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.integers(0, 256, (size, size, 3), dtype=np.uint8), np.zeros((size, size), np.uint8)

    def batches(**changes: int) -> list[torch.Tensor]:
        arguments = {"batch": 2, "seed": 1, "rank": 0, "first_step": 0, "workers": 1} | changes
        stream = BatchStream(sample, lambda step: 32 if step < 3 else 48, **arguments)
        found = [photos for _, (photos, _) in zip(range(5), stream, strict=False)]
        stream.close()
        return found

    whole = batches()
    assert [batch.shape[1] for batch in whole] == [32, 32, 32, 48, 48]
    assert all(torch.equal(a, b) for a, b in zip(whole, batches(workers=3), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], batches(first_step=2), strict=False))
    assert not torch.equal(whole[0], batches(rank=1)[0])
    assert not torch.equal(whole[0], whole[1])


def test_learning_rate_rises_and_falls() -> None:
    assert learning_rate("constant", 0.9, 500, 0) == 1
    assert learning_rate("constant", 0.0, 4, 10) == 0.5
    assert learning_rate("cosine", 0.5, 500, 0) == pytest.approx(0.51)
    assert learning_rate("cosine", 1.0, 500, 0) == pytest.approx(0.02)


def test_every_shipped_configuration_loads() -> None:
    assert set(shipped()) == {"big-lama", "lama-compact", "lite-deeplab", "slim-deeplab"}
    big = load_config(InpainterConfig, "big-lama")
    assert (big.losses.perceptual, big.losses.r1, big.loop.curve, big.generator.n_blocks) == (30, 0.001, "constant", 18)
    assert load_config(InpainterConfig, "lama-compact").generator.ngf == 32
    assert load_config(SegmenterConfig, "lite-deeplab").network == "lite-deeplab"
    assert load_config(SegmenterConfig, "slim-deeplab", ["loop.batch=8"]).loop.batch == 8


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("loop.bach=8", "did you mean 'batch'"),
        ("loop.batch='many'", "batch must be int"),
        ("loop.curve='square'", "constant, cosine"),
        ("loop.sizes=[[0.5, 64]]", "begin at progress 0"),
        ("loop.batch", "no TOML assignment"),
        ("loop.precision='64-true'", "one of 32-true, bf16-mixed, 16-mixed"),
        ("loop.workers=-1", "workers must be 0 or more"),
        ("loop.seed=-1", "seed must be 0 or more"),
        ("losses.r1_interval=0", "r1_interval must be at least 1"),
        ("generator_lr=-1e-3", "generator_lr must be 0 or more"),
        ("gradient_clip=-1", "gradient_clip must be 0 or more"),
        ("generator_lr=nan", "generator_lr must be 0 or more, and finite"),
        ("loop.sizes=[[0.0, 64], [1.5, 128]]", "sizes must begin before progress 1"),
        ("augment.probability=7", r"probability must be in 0\.\.1"),
        ("augment.hue=-1", "hue must be 0 or more"),
        ("augment.scale=[0.0, 0.0]", "scale must be a range above 0"),
        ("losses.adversarial=-1", "adversarial must be 0 or more"),
        ("data.memory_gb=-1", "memory_gb must be 0 or more"),
        ("data.source_weights={voc=-1}", "the weight of voc must be 0 or more"),
        ("masks={large_irregular=0, large_boxes=0, narrow_irregular=0, narrow_boxes=0, shapes=0}", "must be above 0"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(assignment: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_config(InpainterConfig, "lama-compact", [assignment])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("augment.area=[0.0, 0.0]", "area must be a range above 0, 1 at most"),
        ("augment.area=[0.5, 2.0]", "area must be a range above 0, 1 at most"),
        ("augment.cut_mix=1.5", r"cut_mix must be in 0\.\.1"),
        ("freeze_backbone=true", "slim-deeplab has no backbone"),
    ],
)
def test_wrong_settings_of_a_segmenter_are_refused_in_one_line(assignment: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_config(SegmenterConfig, "slim-deeplab", [assignment])
    assert "\n" not in str(caught.value)


def test_an_unknown_device_costs_one_line() -> None:
    for device in ("tpu", "gpu", "cuda:x", "cpu:1"):
        with pytest.raises(UsageError, match=f"unknown device '{device}': take auto, cpu, cuda, cuda:N or mps"):
            make_fabric(device, "32-true")


def test_batches_are_prepared_by_this_process_s_share_of_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert (worker_count(0, True), worker_count(0, False), worker_count(5, True)) == (3, 1, 5)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "24")
    assert processors() == 1


def test_time_is_agreed_on_from_the_first_moment() -> None:
    clock = Clock(Agreement(1), steps=1000, minutes=10, seconds_before=540)
    assert clock.progress(3) == pytest.approx(0.9, abs=0.01)
    clock.stop()
    assert not clock.interrupted
    assert clock.is_over(3)
    assert clock.interrupted


def test_single_photos_may_be_lost_and_many_may_not() -> None:
    said: list[str] = []

    def sample(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = rng.random()
        if drawn < share_lost:
            raise PhotoError(f"photo {int(drawn * 1000) % 2} cannot be decoded")
        return np.full((size, size, 3), int(255 * drawn), np.uint8), np.zeros((size, size), np.uint8)

    share_lost = 0.008
    tolerance = Tolerance(sample, said.append)
    for seed in range(15_000):
        tolerance(np.random.default_rng(seed), 2)
    assert sorted(said) == ["left out: photo 0 cannot be decoded", "left out: photo 1 cannot be decoded"]
    lost = next(seed for seed in range(1000) if np.random.default_rng(seed).random() < share_lost)
    rng = np.random.default_rng(lost)
    rng.random()
    expected = int(255 * rng.random())
    assert tolerance(np.random.default_rng(lost), 2)[0][0, 0, 0] == expected, "the next of the same generator"

    share_lost = 0.05
    tolerance = Tolerance(sample, said.append)
    with pytest.raises(PhotoError, match=r"100 of \d+ photos drawn cannot be used, at last: photo"):
        [tolerance(np.random.default_rng(seed), 2) for seed in range(15_000)]


def _png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


def _tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_tars_and_folders_hold_the_same_records(tmp_path: Path) -> None:
    photo = np.zeros((40, 60, 3), np.uint8)
    photo[..., 2] = 200  # OpenCV writes BGR: this is red
    labels = np.zeros((40, 60), np.uint8)
    labels[10:20, 10:30] = 12
    labels[0, 0] = 255
    members = {"a.png": _png(photo), "a.seg.png": _png(labels), "b.png": _png(photo)}
    members["a.json"] = json.dumps({"source": "yard", "label": "pseudo", "classes": ["dog", "aeroplane"]}).encode()
    for name, content in members.items():
        (tmp_path / name).write_bytes(content)
    from_tar = read_records([_tar(tmp_path / "train-00.tar", members)])
    from_folder = read_records([tmp_path])
    for records in (from_tar, from_folder):
        library = PhotoLibrary(records, memory_gb=1, short_side=20)
        assert [(record.source, record.label) for record in records] == [("yard", "pseudo"), ("folder", "none")]
        assert records[0].classes == (12, 1)
        assert library.photo(0).shape == (20, 30, 3)
        assert library.photo(0)[5, 5].tolist() == [200, 0, 0]
        assert (library.labels(0) == 12).sum() == 50
        assert (library.labels(1) == 255).all()
        assert PhotoLibrary(records).photo(0).shape == (40, 60, 3), "0 keeps the size"
        outline = ShapeBank(library, [12]).outline(np.random.default_rng(0))
        assert outline.shape == (5, 10)
        assert outline.all()


def test_members_of_a_tar_are_keyed_by_folder_and_name(tmp_path: Path) -> None:
    photo, labels = _png(np.zeros((4, 4, 3), np.uint8)), _png(np.full((4, 4), 12, np.uint8))
    names = ("./0001", "photos.v2/0001", "./photos.v2/0002")
    members = {
        f"{name}{suffix}": content for name in names for suffix, content in ((".png", photo), (".seg.png", labels))
    }
    records = read_records([_tar(tmp_path / "t.tar", members)])
    assert [(record.key, record.classes) for record in records] == [
        ("0001", (12,)), ("photos.v2/0001", (12,)), ("photos.v2/0002", (12,)),
    ]  # fmt: skip


def test_damaged_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_records([tmp_path / "nothing"])
    with pytest.raises(UsageError, match=r"no photos in .* or in tars"):
        read_records([tmp_path])
    (tmp_path / "broken.tar").write_bytes(b"x" * 100)
    with pytest.raises(PhotoError, match=r"broken\.tar"):
        read_records([tmp_path / "broken.tar"])
    (tmp_path / "broken.tar").unlink()
    photo = _png(np.zeros((4, 4, 3), np.uint8))
    truck = _tar(tmp_path / "truck.tar", {"a.png": photo, "a.json": b'{"classes": ["truck"]}'})
    with pytest.raises(UsageError, match="the JSON of a names the class 'truck'"):
        read_records([truck])
    truck.unlink()
    said = {"a.png": photo, "a.seg.png": _png(np.zeros((4, 4), np.uint8)), "a.json": b'{"classes": ["dog"]}'}
    for names, reason in ((said.keys(), "said to show"), (said.keys() - {"a.seg.png"}, "no labelled objects")):
        members = {name: said[name] for name in sorted(names)}
        library = PhotoLibrary(read_records([_tar(tmp_path / "said.tar", members)]))
        with pytest.raises(UsageError, match=reason):
            ShapeBank(library).draw(np.random.default_rng(0))
    (tmp_path / "said.tar").unlink()
    (tmp_path / "c.jpg").write_bytes(b"no photo")
    with pytest.raises(PhotoError, match=r"c\.jpg cannot be decoded"):
        PhotoLibrary(read_records([tmp_path]), memory_gb=1)


def test_shapes_are_drawn_by_class_or_by_photo(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for index in range(16):
        label = 12 if index < 15 else 4
        members[f"{index}.png"] = _png(np.zeros((8, 8, 3), np.uint8))
        members[f"{index}.seg.png"] = _png(np.full((8, 8), label, np.uint8))
    library, rng = PhotoLibrary(read_records([_tar(tmp_path / "t.tar", members)])), np.random.default_rng(0)
    for balance, share in ((1.0, 1 / 2), (0.5, 1 / 5), (0.0, 1 / 16)):  # of 15 and 1 photos; 4 and 1 are their roots
        bank = ShapeBank(library, balance=balance)
        boats = np.mean([bank.draw(rng)[1] == 4 for _ in range(1500)])
        assert boats == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 1500))


def test_rare_classes_are_drawn_more_often(tmp_path: Path) -> None:
    photo = _png(np.zeros((8, 8, 3), np.uint8))
    members: dict[str, bytes] = {}
    for index in range(9):
        classes = ["dog"] if index < 8 else ["boat"]
        members |= {f"{index}.png": photo, f"{index}.json": json.dumps({"classes": classes}).encode()}
    records = read_records([_tar(tmp_path / "t.tar", members)])

    def weights(balance: float) -> np.ndarray:
        return sampling_weights(
            records, source_weights={}, label_weights={}, unlabelled_weight=1, class_balance=balance
        )

    assert np.allclose(weights(0), 1 / 9)
    assert weights(1)[8] == pytest.approx(0.5), "as often as the eight photos of the other class together"
    with pytest.raises(UsageError, match="weight 0"):
        sampling_weights(records, source_weights={"folder": 0}, label_weights={}, unlabelled_weight=1, class_balance=0)
