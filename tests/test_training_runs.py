"""Whole training runs on tiny drawn data: the loss falls, a resumed run is the same run, what is exported works in the package."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("lightning")

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from objremove import inpainting, segmentation
from objremove.cli.app import run
from objremove.cli.train import app
from objremove.errors import ModelError, PhotoError, UsageError
from objremove.segmentation.architectures import ARCHITECTURES
from objremove.segmentation.slim_deeplab import SlimDeepLab
from objremove.training.checkpoint import NAME
from objremove.training.config import InpainterConfig, SegmenterConfig, load_config
from objremove.training.efficientnet_lite import EfficientNetLite
from objremove.training.files import read_records
from objremove.training.inpainter import InpainterRecipe
from objremove.training.library import PhotoLibrary
from objremove.training.lite_deeplab import LiteDeepLab
from objremove.training.loop import Outcome, make_fabric, train
from objremove.training.perceptual import SegmenterFeatures, SqueezeNetFeatures
from objremove.training.segmenter import SegmenterRecipe
from objremove.training.teachers import Ensemble, Teacher, load_teacher

CPU = torch.device("cpu")
TINY_INPAINTER = [
    "loop.batch=4", "loop.sizes=[[0, 32], [0.5, 48]]", "loop.precision='32-true'", "loop.log_every=1", "loop.warmup=0",
    "generator.ngf=8", "generator.n_blocks=1", "losses.perceptual=0", "generator_lr=0.004", "losses.r1_interval=2",
]  # fmt: skip
TINY_SEGMENTER = [
    "loop.batch=8", "loop.sizes=[[0, 32]]", "loop.log_every=1", "loop.warmup=0", "width=16", "lr=0.004", "loop.ema_decay=0.9",
]  # fmt: skip


class Recorder:
    """Keeps what the loop says."""

    def __init__(self) -> None:
        self.losses: list[dict[str, float]] = []
        self.warned: list[str] = []

    def step(self, step: int, progress: float, seconds: float, rate: float, scalars: Mapping[str, float]) -> None:
        self.losses.append(dict(scalars))

    def say(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        self.warned.append(text)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 12 photos: a red disc (labelled car) on green and blue gradients."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(12):
        rows, columns = np.mgrid[:64, :80]
        photo = np.stack((0 * rows, rows * 3, columns * 2), axis=-1).astype(np.uint8)
        labels = np.zeros((64, 80), np.uint8)
        centre = (int(rng.integers(20, 60)), int(rng.integers(20, 44)))
        cv2.circle(photo, centre, 14, (230, 20, 20), -1)
        cv2.circle(labels, centre, 14, 7, -1)
        cv2.imwrite(str(folder / f"{index}.png"), photo[..., ::-1])
        cv2.imwrite(str(folder / f"{index}.seg.png"), labels)
    return folder


def inpainter(photos: Path, out: Path, steps: int, settings: list[str] | None = None, **options: object) -> Recorder:
    """Train a tiny generator up to `steps`; returns the losses of this sitting."""
    config = load_config(InpainterConfig, "lama-compact", [*TINY_INPAINTER, *(settings or []), f"loop.steps={steps}"])
    fabric = make_fabric("cpu", config.loop.precision)
    fabric.seed_everything(0, verbose=False)
    library = PhotoLibrary(read_records([photos]), memory_gb=1)
    recipe = InpainterRecipe(fabric, config, library, library, backbones=[])
    recorder = Recorder()
    train(fabric, recipe, config, out=out, reporter=recorder, metadata={"recipe": {"name": "tiny"}}, **options)
    return recorder


def segmenter(
    photos: Path,
    out: Path,
    steps: int,
    weights: Path | None = None,
    teacher: Teacher | None = None,
    config: str = "slim-deeplab",
    precision: str = "32-true",
    settings: Sequence[str] = (),
) -> tuple[Recorder, Outcome]:
    settings = [*TINY_SEGMENTER, *settings, f"loop.steps={steps}", f"loop.precision='{precision}'"]
    config = load_config(SegmenterConfig, config, settings)
    fabric = make_fabric("cpu", config.loop.precision)
    fabric.seed_everything(0, verbose=False)
    library = PhotoLibrary(read_records([photos]), memory_gb=1)
    recipe = SegmenterRecipe(fabric, config, library, library, weights=weights, teacher=teacher)
    recorder = Recorder()
    return recorder, train(fabric, recipe, config, out=out, reporter=recorder, metadata={})


def checkpoint(folder: Path) -> dict[str, object]:
    return torch.load(folder / NAME, weights_only=True)


def same(a: object, b: object) -> bool:
    """Equal to the last bit, through dicts and lists."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_inpainter_learns_and_its_weights_fill_holes_in_the_package(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    losses = inpainter(photos, out, 24).losses
    assert np.mean([loss["l1"] for loss in losses[-6:]]) < 0.6 * np.mean([loss["l1"] for loss in losses[:4]])
    assert {"l1", "adversarial", "feature_matching", "discriminator"} <= losses[-1].keys()
    assert ["r1" in loss for loss in losses[:4]] == [True, False, True, False], "lazy: every second step"

    lama = inpainting.load(out / "generator.safetensors", device=CPU, dtype=torch.float32)
    window = np.random.default_rng(0).random((1, 64, 64, 3), dtype=np.float32)
    hole = np.zeros((1, 64, 64), np.bool_)
    hole[:, 20:40, 20:40] = True
    filled = lama.fill(window, hole)
    assert filled.shape == window.shape
    assert np.isfinite(filled).all()

    with safe_open(out / "generator.safetensors", "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["recipe"]) == {"name": "tiny"}
    assert json.loads(metadata["trained"])["samples"] == 96
    assert json.loads(metadata["scores"]).keys() == {"hole_l1", "hole_psnr"}
    preview = cv2.imread(str(out / "previews" / "0000024.png"))
    assert preview is not None
    assert "train/l1" in (out / "scalars.jsonl").read_text()


def test_without_its_losses_no_discriminator_is_trained(photos: Path, tmp_path: Path) -> None:
    off = ["losses.adversarial=0", "losses.feature_matching=0", "losses.l1_hole=5"]
    losses = inpainter(photos, tmp_path / "run", 12, off).losses
    assert losses[-1].keys() == {"generator", "l1"}
    assert losses[-1]["l1"] < 0.8 * losses[0]["l1"]
    assert not checkpoint(tmp_path / "run")["discriminator_optimizer"]["state"], "its optimiser never made a step"
    assert not (tmp_path / "run" / "discriminator.safetensors").exists(), "there is none to go on with"


def test_exported_weights_are_the_average_and_not_the_last_step(photos: Path, tmp_path: Path) -> None:
    inpainter(photos, tmp_path / "run", 4)
    content = checkpoint(tmp_path / "run")
    with safe_open(tmp_path / "run" / "generator.safetensors", "pt") as file:
        key = next(key for key in file.keys() if key.endswith("convl2l.weight"))  # noqa: SIM118 - no mapping
        exported = file.get_tensor(key)
    assert torch.equal(exported, content["ema"][key].half())
    assert not torch.equal(exported, content["generator"][key].half())


def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(photos: Path, tmp_path: Path) -> None:
    settings = ["loop.curve='constant'", "loop.sizes=[[0, 32]]"]
    whole = inpainter(photos, tmp_path / "whole", 6, settings)
    first = inpainter(photos, tmp_path / "parts", 3, settings)
    torch.manual_seed(99)  # whatever happens between two sittings
    second = inpainter(photos, tmp_path / "parts", 6, settings, resume=tmp_path / "parts")
    assert first.losses + second.losses == whole.losses
    one, other = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts")
    for key in one.keys() - {"seconds"}:
        assert same(one[key], other[key]), key


def test_checkpoint_of_other_settings_is_refused(photos: Path, tmp_path: Path) -> None:
    inpainter(photos, tmp_path / "run", 1)
    with pytest.raises(ModelError, match=r"other settings \(losses.l1_known was 10.0, is 3.0\)"):
        inpainter(photos, tmp_path / "run", 2, ["losses.l1_known=3.0"], resume=tmp_path / "run")
    path = tmp_path / "run" / NAME
    older = torch.load(path, weights_only=True)
    settings = json.loads(older["settings"])
    del settings["augment"]["hue"]
    torch.save(older | {"settings": json.dumps(settings)}, path)
    with pytest.raises(ModelError, match=r"augment.hue was unknown, is \d+\)"):
        inpainter(photos, tmp_path / "run", 2, resume=tmp_path / "run")
    (tmp_path / "run" / NAME).write_bytes(b"half a file")
    with pytest.raises(ModelError, match="does not fit"):
        inpainter(photos, tmp_path / "run", 2, resume=tmp_path / "run")
    with pytest.raises(ModelError, match="does not exist"):
        inpainter(photos, tmp_path / "new", 2, resume=tmp_path / "nowhere")


def test_time_budget_ends_with_usable_weights(photos: Path, tmp_path: Path) -> None:
    inpainter(photos, tmp_path / "run", 1_000_000, minutes=0.02)
    assert checkpoint(tmp_path / "run")["step"] >= 1
    inpainting.load(tmp_path / "run" / "generator.safetensors", device=CPU, dtype=torch.float32)


@pytest.mark.parametrize("broken", ["loss", "weights", "average"])
def test_what_is_not_finite_ends_the_run_and_keeps_the_last_checkpoint(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    out, quiet = tmp_path / "run", ["loop.log_every=50"]  # the losses are read at the end alone
    inpainter(photos, out, 1, quiet)
    before = {name: (out / name).read_bytes() for name in (NAME, "generator.safetensors")}
    step = InpainterRecipe.step

    def spoilt(self: InpainterRecipe, *arguments: object) -> dict[str, torch.Tensor]:
        scalars = dict(step(self, *arguments))
        if broken == "loss":
            return scalars | {"l1": torch.tensor(float("nan"))}
        network = self.state()["generator" if broken == "weights" else "ema"]
        next(network.parameters()).data.fill_(float("inf"))
        return scalars

    monkeypatch.setattr(InpainterRecipe, "step", spoilt)
    with pytest.raises(ModelError, match="not finite at step 2"):
        inpainter(photos, out, 2, quiet, resume=out)
    assert {name: (out / name).read_bytes() for name in before} == before


def test_a_second_run_destroys_nothing_unasked(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    inpainter(photos, out, 2)
    (out / "notes.txt").write_text("mine")
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    with pytest.raises(UsageError, match=r"--resume .*run, replace it with --overwrite"):
        inpainter(photos, out, 1)
    (tmp_path / "other").mkdir()
    shutil.copy(out / NAME, tmp_path / "other")
    arguments = ["train", "inpainter", "--data", str(photos), "--out", str(out), "--device", "cpu"]
    for words, reason in (
        ([], f"go on with --resume {out}"),
        (["--resume", str(tmp_path / "other")], "is an earlier run's"),
        (["--resume", str(out), "--overwrite"], "leave one of them out"),
    ):
        assert run([*arguments, *words]) == 2
        said = capsys.readouterr().err
        assert reason in said
        assert said.count("\n") == 1
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before

    inpainter(photos, out, 1, overwrite=True)
    assert [file.name for file in (out / "previews").iterdir()] == ["0000001.png"]
    assert len(list((out / "tensorboard").iterdir())) == 1
    assert [json.loads(line)["step"] for line in (out / "scalars.jsonl").read_text().splitlines()] == [1, 1]
    assert (out / "notes.txt").read_text() == "mine"

    weights = (out / "generator.safetensors").read_bytes()
    (out / NAME).unlink()
    with pytest.raises(UsageError, match=r"is an earlier run's: replace it with --overwrite, or name another --out"):
        inpainter(photos, out, 1)
    assert (out / "generator.safetensors").read_bytes() == weights, "weights alone are worth as much"


def test_records_of_a_killed_sitting_are_not_told_twice(photos: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    inpainter(photos, out, 2)
    with (out / "scalars.jsonl").open("a") as lines:  # what a sitting wrote that was killed before its checkpoint
        lines.write('{"step": 3, "train/l1": 1.0}\n{"step": 4, "tr')
    inpainter(photos, out, 4, resume=out)
    told = [json.loads(line) for line in (out / "scalars.jsonl").read_text().splitlines()]
    assert [line["step"] for line in told if "train/l1" in line] == [1, 2, 3, 4]
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/l1")] == [1, 2, 3, 4]


def test_a_resumed_time_budget_goes_on_where_it_was(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["loop.sizes=[[0, 32], [0.5, 48]]"]
    inpainter(photos, tmp_path / "run", 2, settings, minutes=10)
    sample, sizes = InpainterRecipe.sample, list[int]()

    def seen(self: InpainterRecipe, rng: np.random.Generator, size: int) -> object:
        sizes.append(size)
        return sample(self, rng, size)

    monkeypatch.setattr(InpainterRecipe, "sample", seen)
    minutes = checkpoint(tmp_path / "run")["seconds"] / 60 / 0.75
    inpainter(photos, tmp_path / "run", 1000, settings, minutes=minutes, resume=tmp_path / "run")
    assert sizes
    assert set(sizes) == {48}, "the batches that are prepared first, too"


def test_photos_that_cannot_be_read_are_passed_over_and_told_once(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, calls = InpainterRecipe.sample, count()

    def spotty(self: InpainterRecipe, rng: np.random.Generator, size: int) -> object:
        drawn = sample(self, rng, size)
        if next(calls) % 5 == 0:
            raise PhotoError("photo 3.png cannot be decoded")
        return drawn

    monkeypatch.setattr(InpainterRecipe, "sample", spotty)
    recorder = inpainter(photos, tmp_path / "run", 3)
    assert len(recorder.losses) == 3
    assert recorder.warned == ["left out: photo 3.png cannot be decoded"]


def test_scores_may_fail_and_are_had_once_at_a_step(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[bool] = []

    def evaluate(self: InpainterRecipe) -> dict[str, float]:
        judged.append((tmp_path / "run" / "generator.safetensors").exists())
        if len(judged) == 1:
            raise PhotoError("photo 3.png cannot be read")
        return {"hole_l1": 0.5}

    monkeypatch.setattr(InpainterRecipe, "evaluate", evaluate)
    recorder = inpainter(photos, tmp_path / "run", 2, ["loop.checkpoint_minutes=0"])
    assert judged == [True, True], "weights first; at the end of each of two steps, and not again at the end of the run"
    assert recorder.warned == ["step 1 is not judged: photo 3.png cannot be read"]
    with safe_open(tmp_path / "run" / "generator.safetensors", "pt") as file:
        assert json.loads(file.metadata()["scores"]) == {"hole_l1": 0.5}


def test_what_is_done_is_kept_before_data_ends_the_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, sample, calls = tmp_path / "run", InpainterRecipe.sample, count()

    def failing(self: InpainterRecipe, rng: np.random.Generator, size: int) -> object:
        if next(calls) >= 12:  # three batches
            raise PhotoError("the disk has gone")
        return sample(self, rng, size)

    monkeypatch.setattr(InpainterRecipe, "sample", failing)
    with pytest.raises(PhotoError, match="100 of 112 photos drawn cannot be used, at last: the disk has gone"):
        inpainter(photos, out, 1000)
    assert checkpoint(out)["step"] == 3
    with pytest.raises(PhotoError):
        inpainter(photos, tmp_path / "none", 1000)
    assert not (tmp_path / "none" / NAME).exists(), "nothing was done"


def test_other_teachers_are_noticed_and_older_checkpoints_go_on(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    inpainter(photos, out, 1, given={"perceptual": ["ab12"]})
    for given in ({"perceptual": ["cd34"]}, {"perceptual": []}, {}):
        with pytest.raises(ModelError, match=r"given\.perceptual was \['ab12'\]"):
            inpainter(photos, out, 2, resume=out, given=given)
    older = checkpoint(out)
    settings = json.loads(older["settings"])
    assert settings.pop("given")["processes"] == 1
    torch.save(older | {"settings": json.dumps(settings)}, out / NAME)
    inpainter(photos, out, 2, resume=out, given={"perceptual": ["cd34"]})
    assert checkpoint(out)["step"] == 2


def test_a_resumed_run_knows_what_it_began_from(photos: Path, tmp_path: Path) -> None:
    def told() -> dict[str, list[str]]:
        with safe_open(tmp_path / "run" / "generator.safetensors", "pt") as file:
            return dict(json.loads(file.metadata()["sha256"]))

    out = tmp_path / "run"
    inpainter(photos, out, 1, given={"photos": ["p"]}, begun={"init": ["ab12"]})
    for steps, begun in ((2, {"init": []}), (3, {"init": ["ab12"]}), (4, {})):
        inpainter(photos, out, steps, resume=out, given={"photos": ["p"]}, begun=begun)
        assert told() == {"photos": ["p"], "init": ["ab12"]}
    with pytest.raises(ModelError, match=r"begun\.init was \['ab12'\], is \['cd34'\]"):
        inpainter(photos, out, 5, resume=out, given={"photos": ["p"]}, begun={"init": ["cd34"]})
    with pytest.raises(ModelError, match=r"given\.photos was \['p'\], is \['q'\]"):
        inpainter(photos, out, 5, resume=out, given={"photos": ["q"]})


def test_no_clipping_is_not_no_gradient(photos: Path, tmp_path: Path) -> None:
    inpainter(photos, tmp_path / "lama", 1, ["gradient_clip=0.0"])
    segmenter(photos, tmp_path / "slim", 1, settings=["gradient_clip=0.0"])
    for name, optimizer in (("lama", "generator_optimizer"), ("slim", "optimizer")):
        moments = [state["exp_avg"] for state in checkpoint(tmp_path / name)[optimizer]["state"].values()]
        assert max(moment.abs().max() for moment in moments) > 0


def test_perceptual_loss_without_a_backbone_is_an_error(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a backbone"):
        inpainter(photos, tmp_path / "run", 1, ["losses.perceptual=3"])


def test_segmenter_learns_finds_and_goes_on_from_its_weights(photos: Path, tmp_path: Path) -> None:
    recorder, outcome = segmenter(photos, tmp_path / "run", 40)
    loss = [step["cross_entropy"] for step in recorder.losses]
    assert np.mean(loss[-5:]) < 0.3 * np.mean(loss[:3])
    assert outcome.scores["car"] > 0.5
    assert outcome.scores["mean_iou"] > 0.5
    again, _ = segmenter(photos, tmp_path / "again", 1, weights=tmp_path / "run" / "segmenter.safetensors")
    assert again.losses[0]["cross_entropy"] < 0.5 * loss[0]


def test_a_teacher_is_foretold_and_left_behind(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    teacher = Teacher(SegmenterFeatures(SlimDeepLab(width=16)))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    recorder, _ = segmenter(photos, tmp_path / "run", 30, teacher=teacher)
    hints = [loss["hint"] for loss in recorder.losses]
    assert np.mean(hints[-5:]) < 0.8 * np.mean(hints[:5])
    assert same(before, dict(teacher.state_dict())), "the teacher is frozen"
    with safe_open(tmp_path / "run" / "segmenter.safetensors", "pt") as exported:
        assert set(exported.keys()) == SlimDeepLab(width=16).state_dict().keys()


def test_what_a_segmenter_has_learnt_is_passed_on_where_there_are_no_labels(photos: Path, tmp_path: Path) -> None:
    segmenter(photos, tmp_path / "teacher", 40)
    teacher = load_teacher(tmp_path / "teacher" / "segmenter.safetensors")
    for labels in photos.glob("*.seg.png"):
        cv2.imwrite(str(labels), np.full((64, 80), 255, np.uint8))
        (photos / labels.name.replace(".seg.png", ".json")).write_text('{"label": "human", "classes": ["car"]}')
    recorder, _ = segmenter(photos, tmp_path / "student", 40, teacher=teacher)
    divergence = [loss["distillation"] for loss in recorder.losses]
    assert np.mean(divergence[-5:]) < 0.3 * np.mean(divergence[:3])
    assert all(loss["cross_entropy"] == 0 for loss in recorder.losses), "no pixel has a label"

    photo = torch.from_numpy(cv2.imread(str(photos / "0.png"))[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    image = (photo - teacher.get_buffer("mean")) / teacher.get_buffer("std")
    student = _slim(tmp_path / "student" / "segmenter.safetensors", width=16)
    with torch.inference_mode():
        found, expected = (network(image)["out"].argmax(1) == 7 for network in (student, teacher.network))
    assert (found & expected).sum() > 0.6 * (found | expected).sum(), "the student finds the car of the teacher"


def _slim(path: Path, width: int) -> SlimDeepLab:
    network = SlimDeepLab(width=width)
    network.load_state_dict({key: value.to(torch.get_default_dtype()) for key, value in load_file(path).items()})
    return network.eval()


def _ported(backbone: EfficientNetLite) -> dict[str, torch.Tensor]:
    """The backbone's weights as the PyTorch port of EfficientNet-Lite0 names them, a classifier among them."""
    state = backbone.state_dict()
    return {theirs: state[ours] for ours, theirs in backbone.ported_names().items()} | {
        "_fc.weight": torch.zeros(1000, 1280)
    }


def test_a_teacher_starts_from_efficientnet_and_is_told_by_its_keys(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = tmp_path / "efficientnet-lite0.pth"
    given = _ported(EfficientNetLite())
    torch.save(given, start)
    assert given["_blocks.15._project_conv.weight"].shape == (320, 1152, 1, 1)

    segmenter(photos, tmp_path / "run", 1, weights=start, config="lite-deeplab")
    made = tmp_path / "run" / "segmenter.safetensors"
    teacher = load_teacher(made)
    lesson = teacher(torch.rand(2, 3, 64, 80))
    assert (lesson.features.shape, lesson.logits.shape) == ((2, 1280, 4, 5), (2, 21, 16, 20))
    first = load_file(made)["backbone.stem.conv.weight"].float()
    assert 0 < (first - given["_conv_stem.weight"]).abs().max() < 0.02, "one step from where it began"

    segmenter(photos, tmp_path / "again", 1, weights=made, config="lite-deeplab")
    torch.save({**given, "_conv_stem.weight": torch.zeros(40, 3, 3, 3)}, tmp_path / "lite3.pth")
    with pytest.raises(ModelError, match=r"lite3\.pth holds another EfficientNet"):
        segmenter(photos, tmp_path / "wide", 1, weights=tmp_path / "lite3.pth", config="lite-deeplab")
    (tmp_path / "none.safetensors").write_bytes(b"no weights")
    save_file({"head.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    for name, reason in (
        ("none", "not a whole weight file"),
        ("other", "holds no teacher"),
        ("missing", "cannot read"),
    ):
        with pytest.raises(ModelError, match=reason):
            load_teacher(tmp_path / f"{name}.safetensors")


def test_a_frozen_backbone_stays_as_it_is_and_its_head_learns(photos: Path, tmp_path: Path) -> None:
    start = tmp_path / "efficientnet-lite0.pth"
    torch.manual_seed(0)
    torch.save(_ported(EfficientNetLite()), start)
    before = LiteDeepLab(21)
    before.start_from(start)
    for name, frozen in (("free", False), ("frozen", True)):
        settings = [f"freeze_backbone={str(frozen).lower()}"]
        segmenter(photos, tmp_path / name, 2, weights=start, config="lite-deeplab", settings=settings)
        made = load_file(tmp_path / name / "segmenter.safetensors")
        kept = [
            torch.equal(value.half(), made[key])
            for key, value in before.state_dict().items()
            if key.startswith("backbone.") and key.endswith(("conv.weight", "running_mean"))
        ]
        assert all(kept) if frozen else not any(kept), "weights and the norms' statistics alike"


def test_a_backbone_alone_is_a_teacher(tmp_path: Path) -> None:
    features = SqueezeNetFeatures().layers.state_dict()
    save_file({f"features.{key}": value for key, value in features.items()}, tmp_path / "squeezenet.safetensors")
    backbone = load_teacher(tmp_path / "squeezenet.safetensors")
    assert (backbone.channels, type(backbone.network)) == (512, SqueezeNetFeatures)


def test_a_teacher_may_have_answers_only(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = ARCHITECTURES["lraspp_mobilenet_v3_large"].build()
    torch.save(network.state_dict(), tmp_path / "lraspp.pth")
    teacher = load_teacher(tmp_path / "lraspp.pth")
    assert teacher.channels == 0
    for precision in ("32-true", "bf16-mixed"):
        recorder, _ = segmenter(photos, tmp_path / precision, 2, teacher=teacher, precision=precision)
        assert recorder.losses[0].keys() == {"cross_entropy", "distillation"}


def test_teachers_answer_together(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(SlimDeepLab(16, 21).state_dict(), tmp_path / "slim.safetensors")
    save_file(LiteDeepLab(21).state_dict(), tmp_path / "lite.safetensors")
    backbone = {f"features.{key}": value for key, value in SqueezeNetFeatures().layers.state_dict().items()}
    save_file(backbone, tmp_path / "backbone.safetensors")
    slim, lite, features = (load_teacher(tmp_path / f"{name}.safetensors") for name in ("slim", "lite", "backbone"))
    image = torch.rand(2, 3, 64, 80)
    lesson, alone = Ensemble([lite, slim])(image), [each(image) for each in (lite, slim)]
    mean = torch.stack([each.logits.softmax(1) for each in alone]).mean(0)
    assert torch.allclose(lesson.logits.softmax(1), mean, atol=1e-5)
    assert torch.equal(lesson.features, alone[0].features), "of the first that shows some"

    lesson = Ensemble([features, slim])(image)
    assert lesson.features.shape[1] == 512
    assert torch.allclose(lesson.logits.softmax(1), alone[1].logits.softmax(1), atol=1e-5), "a backbone has no answers"
    assert Ensemble([features])(image).logits is None

    recorder, _ = segmenter(photos, tmp_path / "run", 2, teacher=Ensemble([lite, slim]))
    assert recorder.losses[0].keys() == {"cross_entropy", "hint", "distillation"}


@pytest.mark.parametrize("way", ["cut_mix", "mix_up"])
def test_a_run_mixes_photos_where_it_is_told_to(photos: Path, way: str) -> None:
    def draw(share: float) -> list[tuple[np.ndarray, np.ndarray]]:
        settings = [*TINY_SEGMENTER, f"augment.{way}={share}", "augment.rotation=0", "augment.copy_paste=0"]
        config = load_config(SegmenterConfig, "slim-deeplab", settings)
        library = PhotoLibrary(read_records([photos]), memory_gb=1)
        recipe = SegmenterRecipe(make_fabric("cpu", "32-true"), config, library, None)
        return [recipe.sample(np.random.default_rng(seed), 64) for seed in range(12)]

    plain, mixed = draw(0), draw(1)
    assert all((labels != 255).all() for _, labels in plain)
    changed = [not np.array_equal(a[0], b[0]) for a, b in zip(plain, mixed, strict=True)]
    assert sum(changed) > 8
    unknown = sum((labels == 255).any() for _, labels in mixed)
    assert unknown > 8 if way == "mix_up" else unknown == 0


def test_command_line_trains_a_segmenter_that_the_package_loads(photos: Path, tmp_path: Path) -> None:
    out, judged = tmp_path / "run", photos / "judged"  # within --data: not trained on
    judged.mkdir()
    for file in photos.glob("1*"):
        file.rename(judged / file.name)
    torch.save(SlimDeepLab(16).state_dict(), tmp_path / "teacher.pth")
    arguments = ["segmenter", "--data", str(photos), "--val", str(judged), "--out", str(out), "--device", "cpu"]
    arguments += ["--teacher", str(tmp_path / "teacher.pth")]
    # The width that the package knows; everything else tiny.
    settings = [*TINY_SEGMENTER, "width=48", "loop.steps=2", "loop.batch=2"]
    result = CliRunner().invoke(
        app, arguments + [word for s in settings for word in ("--set", s)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert "3 photos to judge by left out of the training" in result.output
    with safe_open(out / "segmenter.safetensors", "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["data"]) == {"folder": 9}
    digest = hashlib.sha256((tmp_path / "teacher.pth").read_bytes()).hexdigest()
    digests = json.loads(metadata["sha256"])
    assert (digests["teachers"], digests["init"], len(digests["photos"])) == ([digest], [], 1)
    assert "val/mean_iou" in (out / "scalars.jsonl").read_text()
    found = segmentation.load(out / "segmenter.safetensors", device=CPU, dtype=torch.float32)
    assert isinstance(found.find(np.zeros((64, 80, 3), np.uint8), ["car"]), list)


def test_weights_are_averaged_and_say_of_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    states = [SlimDeepLab(16).state_dict() for _ in files]
    for file, state in zip(files, states, strict=True):
        save_file(state, file, {"recipe": "{}", "scores": "{}", "trained": "{}"})
    out = tmp_path / "mean.safetensors"
    words = ["train", "average", *map(str, files), "--share", "3", "--share", "1", "--out", str(out)]
    assert run(words) == 0
    mean = load_file(out)
    for key, value in states[0].items():
        if value.is_floating_point():
            assert torch.allclose(mean[key].float(), 0.75 * value + 0.25 * states[1][key], atol=1e-3)
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert json.loads(metadata["mean_of"])[0] == {"sha256": digest, "share": 0.75}
    assert metadata.keys() == {"recipe", "mean_of"}, "scores are not those of the mean"

    save_file(SlimDeepLab(24).state_dict(), tmp_path / "wider.safetensors")
    before = out.read_bytes()
    for said, words in (
        ("exists", [*map(str, files), "--out", str(out)]),
        ("two files or more", [str(files[0]), "--out", str(tmp_path / "new")]),
        ("another network", [str(files[0]), str(tmp_path / "wider.safetensors"), "--out", str(tmp_path / "new")]),
        ("as many shares", [*map(str, files), "--share", "1", "--out", str(tmp_path / "new")]),
    ):
        capsys.readouterr()
        assert run(["train", "average", *words]) in (1, 2)
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert out.read_bytes() == before


def test_interrupt_saves_and_the_run_goes_on(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    start = "import sys; from objremove.cli.train import app; sys.exit(app(standalone_mode=False))"
    words = ["inpainter", "--data", str(photos), "--out", str(out), "--device", "cpu", "--threads", "1"]
    words += [word for setting in TINY_INPAINTER for word in ("--set", setting)]
    command = [sys.executable, "-c", start, *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "step 1," in line:
                process.send_signal(signal.SIGINT)
                break
        said = process.stderr.read()
        assert process.wait(60) == 130, said
    assert "interrupted" in said
    inpainting.load(out / "generator.safetensors", device=CPU, dtype=torch.float32)
    step = checkpoint(out)["step"]
    assert step >= 1
    threads = torch.get_num_threads()
    assert run(["train", *words, "--resume", str(out), "--set", f"loop.steps={step + 2}"]) == 0
    torch.set_num_threads(threads)
    assert checkpoint(out)["step"] == step + 2
    told = [json.loads(line) for line in (out / "scalars.jsonl").read_text().splitlines()]
    assert [line["step"] for line in told if "train/l1" in line] == list(range(1, step + 3))
