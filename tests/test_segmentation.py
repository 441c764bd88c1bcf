"""Segmenters by class name: exact geometry with toy networks, every architecture with random weights, the embedded one for real."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from objremove import segmentation
from objremove.errors import ModelError, UsageError
from objremove.instances import Instance
from objremove.segmentation import instance as instance_room
from objremove.segmentation import outline, semantic
from objremove.segmentation.architectures import ARCHITECTURES, Architecture, network_in, renamed, skeleton
from objremove.segmentation.base import Segmenter
from objremove.segmentation.frames import network_size, pieces
from objremove.segmentation.instance import Detection, InstanceSegmenter
from objremove.segmentation.semantic import SemanticSegmenter
from objremove.segmentation.weights import read_state

CPU, FP32 = torch.device("cpu"), torch.float32
PERSON = 15
TOY_CLASSES = {0: "background", 1: "car", 2: "person"}


class RedIsPerson(nn.Module):
    """A network that calls every pixel a person in so far as it is redder than it is blue, and a car the other way round."""

    def __init__(self, gain: float = 8.0, sight: int = 1) -> None:
        """`sight`: it sees means over as many pixels, so that it overlooks what is smaller."""
        super().__init__()
        self.gain = gain
        self.sight = sight

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        image = nn.functional.avg_pool2d(image, self.sight, 1, self.sight // 2, count_include_pad=False)
        red = image[:, 0] * 0.229 + 0.485
        blue = image[:, 2] * 0.225 + 0.406
        return {"out": self.gain * torch.stack([torch.zeros_like(red), blue - red - 0.5, red - blue - 0.5], 1)}


def toy(short_side: int = 64, sight: int = 1, gain: float = 8.0, **fields) -> SemanticSegmenter:
    architecture = Architecture(RedIsPerson, TOY_CLASSES, short_side=short_side, stride=1, **fields)
    return SemanticSegmenter(RedIsPerson(gain, sight), "toy", architecture, device=CPU, dtype=FP32)


def scene(height: int, width: int, *boxes: tuple[int, int, int, int], colour=(255, 0, 0), dtype=np.uint8) -> np.ndarray:
    """Black, with boxes (x0, y0, x1, y1) of one colour."""
    pixels = np.zeros((height, width, 3), dtype)
    for x0, y0, x1, y1 in boxes:
        pixels[y0:y1, x0:x1] = np.array(colour, dtype) * (257 if dtype == np.uint16 else 1)
    return pixels


def iou(found: Instance, box: tuple[int, int, int, int]) -> float:
    expected = np.zeros(found.size, bool)
    expected[box[1] : box[3], box[0] : box[2]] = True
    return float((found.mask & expected).sum() / (found.mask | expected).sum())


class TestSecondLook:
    def test_presumed_odds_follow_bayes_rule(self):
        probability = np.array([[[0.1, 0.5, 0.0, 1.0]]], np.float32)
        scores = semantic.Scores(np.log(probability.clip(1e-6)), probability).presuming(8.0)
        assert scores.probability.ravel() == pytest.approx([8 / 17, 8 / 9, 0, 1], abs=1e-6)

    def test_what_was_a_little_less_likely_than_the_rest_is_found_when_it_is_said_to_be_there(self):
        """A box that is by 1.5 logits more like the background than like a person: odds of 1 to 4.5."""
        faint = scene(100, 80, (20, 20, 60, 70), colour=(80, 0, 0))
        segmenter = toy()
        assert segmenter.find(faint, ["person"]) == []
        (found,) = segmenter.look_again(faint, ["person"])
        assert iou(found, (20, 20, 60, 70)) > 0.9
        assert found.score == pytest.approx(1 / (1 + np.exp(1.5)), abs=0.06), "without the presumption"
        assert segmenter.look_again(faint, ["person"], confidence=0.95) == []

    def test_what_is_much_less_likely_than_another_of_its_class_is_not_what_was_meant(self):
        clearer, fainter = scene(100, 80, (10, 10, 40, 40), colour=(115, 0, 0)), (45, 50, 75, 80)
        (found,) = toy().look_again(clearer | scene(100, 80, fainter, colour=(80, 0, 0)), ["person"])
        assert iou(found, (10, 10, 40, 40)) > 0.9
        both = toy().look_again(clearer | scene(100, 80, fainter, colour=(110, 0, 0)), ["person"])
        assert len(both) == 2, "nearly as likely"
        blue = toy().look_again(clearer | scene(100, 80, fainter, colour=(0, 0, 80)), ["person", "car"])
        assert [one.label for one in blue] == ["person", "car"], "each class by itself"

    def test_nothing_is_made_up(self):
        assert toy().look_again(scene(100, 80), ["person", "car"]) == []
        assert toy().look_again(scene(100, 80, (20, 20, 60, 70), colour=(80, 0, 0)), ["car"]) == []
        speck = scene(100, 100, (20, 20, 28, 28), colour=(80, 0, 0))
        assert toy(100).look_again(speck, ["person"]) == [], "less than 1 % of the photo"


class TestGrowing:
    """Dull red is by half a logit more like the background than like a person; red is a person for sure."""

    RED, DULL, BLUE = (255, 0, 0), (110, 0, 0), (0, 0, 255)

    @staticmethod
    def painted(*boxes: tuple[tuple[int, int, int, int], tuple[int, int, int]], size: int = 64) -> np.ndarray:
        return np.max([scene(size, size, box, colour=colour) for box, colour in boxes], axis=0)

    def test_an_object_goes_on_where_it_is_nearly_as_likely_as_the_rest(self):
        legs, elsewhere = (24, 30, 40, 50), (50, 30, 60, 50)
        photo = self.painted(((20, 10, 44, 30), self.RED), (legs, self.DULL), (elsewhere, self.DULL))
        (found,) = toy().find(photo, ["person"])
        assert found.box == (20, 10, 44, 50)
        assert found.mask[30:50, 24:40].all()
        assert not found.mask[elsewhere[1] : elsewhere[3], elsewhere[0] :].any(), "it touches nothing that is sure"
        assert found.score > 0.9, "of what is sure"
        assert toy().find(self.painted((legs, self.DULL)), ["person"]) == []

    def test_what_is_not_sure_itself_does_not_grow(self):
        margin = np.array([[[-3, 1, -0.5, -3, 1, -0.5, -3]]], np.float32)
        scores = semantic.Scores(margin, np.full_like(margin, 0.4))
        sure, unsure = (
            semantic.Component(0, np.arange(7)[None] == place, score) for place, score in ((1, 0.6), (4, 0.4))
        )
        growth = semantic.Growth([sure, unsure], scores)
        grown, drawn = growth.margin(sure), growth.margin(unsure)
        assert np.flatnonzero(grown[0] > 0).tolist() == [1, 2]
        assert np.flatnonzero(drawn[0] > 0).tolist() == [4]

    def test_two_of_a_class_share_what_lies_between_them(self):
        photo = self.painted(((4, 10, 20, 50), self.RED), ((44, 10, 60, 50), self.RED), ((20, 20, 44, 40), self.DULL))
        one, other = toy().find(photo, ["person"])
        assert not (one.mask & other.mask).any()
        assert (one.mask | other.mask)[20:40, 4:60].all()
        assert sorted([one.box, other.box]) == [(4, 10, 32, 50), (32, 10, 60, 50)]

    def test_nothing_grows_into_another_object(self):
        """The second class wins its pixels by less than the first would need to grow there."""
        first = np.array([[2, -0.5, -0.5, -0.5, -0.5]], np.float32)
        second = np.array([[-2, -0.6, -0.6, 0.5, 0.5]], np.float32)
        scores = semantic.Scores(np.stack([first, second]), np.full((2, 1, 5), 0.6, np.float32))
        one = semantic.Component(0, first > 0, 0.9)
        other = semantic.Component(1, second > 0, 0.6)
        assert np.flatnonzero(semantic.Growth([one, other], scores).margin(one)[0] > 0).tolist() == [0, 1, 2]
        assert np.flatnonzero(semantic.Growth([one], scores).margin(one)[0] > 0).tolist() == [0, 1, 2, 3, 4]
        assert semantic.Growth([one, other], scores).covered().all()

    def test_an_object_grows_alike_whatever_is_asked_for(self):
        """A weaker person at its side is found at a lower confidence, and takes nothing from it."""
        photo = self.painted(((4, 10, 20, 50), self.RED), ((20, 20, 44, 40), self.DULL))
        boxes = {
            toy().find(photo, labels, confidence=least)[0].box
            for labels in (["person"], ["person", "car"])
            for least in (0.1, 0.4)
        }
        assert boxes == {(4, 10, 44, 50)}

    def test_what_an_object_grew_to_is_not_found_again_in_a_tile(self):
        """To the finer look the legs are red."""
        photo = self.painted(((40, 20, 88, 60), self.RED), ((44, 60, 84, 100), self.DULL), size=128)
        legs = self.painted(((46, 70, 82, 98), self.RED), size=128)
        network = toy()
        overview = network._overview(photo)
        (body,) = semantic.components(overview, 0.001)
        assert network._find_in_tiles(legs, overview, semantic.Growth([body], overview), 0.5) == []
        assert network._find_in_tiles(legs, overview, semantic.Growth([], overview), 0.5)


class TestGeometry:
    @pytest.mark.parametrize(("height", "width"), [(64, 64), (101, 67), (97, 240), (37, 53), (500, 333)])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_a_square_is_found_where_it_is(self, height: int, width: int, dtype: type):
        box = (width // 4, height // 3, width * 3 // 4, height * 5 // 6)
        found = toy().find(scene(height, width, box, dtype=dtype), ["person"])
        assert [each.label for each in found] == ["person"]
        assert found[0].size == (height, width)
        assert iou(found[0], box) > 0.93
        assert found[0].boundary_error == pytest.approx(min(height, width) / 64 / 2, rel=0.05)
        assert np.abs(np.subtract(found[0].box, box)).max() <= max(1, height / 64)

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (2000, 3), (5, 7)])
    def test_tiny_and_thin_photos_are_photos(self, height: int, width: int):
        found = toy().find(scene(height, width, (0, 0, width, height)), ["person"])
        assert [each.area for each in found] == [height * width]
        assert toy().find(scene(height, width), ["person"]) == []

    @settings(max_examples=25, deadline=None)
    @given(st.integers(8, 90), st.integers(8, 90), st.data())
    def test_edges_of_the_photo_are_reached(self, height: int, width: int, data):
        """A half of the photo, on any side, is found up to the last row and column."""
        side = data.draw(st.sampled_from(["left", "right", "top", "bottom"]))
        box = {
            "left": (0, 0, width // 2, height),
            "right": (width // 2, 0, width, height),
            "top": (0, 0, width, height // 2),
            "bottom": (0, height // 2, width, height),
        }[side]
        (found,) = toy().find(scene(height, width, box), ["person"])
        assert np.abs(np.subtract(found.box, box)).max() <= 1
        assert {"left": 0, "top": 0, "right": width, "bottom": height}[side] in found.box

    def test_the_photo_is_not_written_to(self):
        pixels = scene(70, 90, (10, 10, 50, 50))
        pixels.flags.writeable = False
        assert toy().find(pixels, ["person"])

    def test_separate_objects_are_separate_instances_by_falling_area(self):
        found = toy().find(scene(128, 128, (5, 5, 30, 30), (60, 50, 120, 120)), ["person"])
        assert len(found) == 2
        assert found[0].area > found[1].area
        assert not (found[0].mask & found[1].mask).any()

    def test_only_what_is_asked_for_is_answered(self):
        pixels = scene(96, 96, (5, 5, 50, 50)) + scene(96, 96, (60, 60, 95, 95), colour=(0, 0, 255))
        assert {each.label for each in toy().find(pixels, ["car", "person", "zebra"])} == {"car", "person"}
        assert {each.label for each in toy().find(pixels, ["car"])} == {"car"}
        assert toy().find(pixels, ["zebra"]) == []
        assert toy().find(pixels, ["background"]) == []

    def test_confidence_is_the_least_score(self):
        pixels = scene(96, 96, (5, 5, 50, 50))
        (found,) = toy().find(pixels, ["person"], confidence=0.0)
        assert 0.9 < found.score < 1.0
        assert toy().find(pixels, ["person"], confidence=found.score + 0.001) == []

    def test_specks_are_noise_and_small_gaps_are_closed(self):
        pixels = scene(200, 200, (20, 20, 180, 180), (2, 2, 4, 4))
        pixels[80:88, 80:88] = 0
        (found,) = toy(200).find(pixels, ["person"])
        assert found.covers(84, 84)

    @pytest.mark.parametrize("side", [64, 96])
    def test_mirrored_answers_are_mirrored_back(self, side: int):
        box = (3, 20, 40, 60)
        (found,) = toy(mirrored_side=side).find(scene(100, 120, box), ["person"])
        assert iou(found, box) > 0.9

    def test_two_answers_are_averaged(self):
        """A network that is sure at one scale and knows nothing at the other."""
        segmenter, photo = toy(mirrored_side=96), scene(96, 96, (20, 20, 60, 60))
        seen = segmenter._network.forward
        segmenter._network.forward = lambda image: {"out": seen(image)["out"] * (1 if image.shape[2] == 96 else 0)}
        scores = segmenter._overview(photo)
        assert scores.probability.shape == (2, 96, 96)
        person = scores.probability[segmenter.classes.index("person")]
        assert person[40, 40] == pytest.approx((1 / 3 + 1 / (1 + np.exp(-4))) / 2, abs=0.01)
        assert person[40, 80] == pytest.approx((1 / 3 + np.exp(-4) / (1 + np.exp(-4))) / 2, abs=0.01)

    def test_threads_agree(self):
        segmenter, pixels, answers = toy(), scene(128, 128, (20, 30, 80, 90)), []
        threads = [
            threading.Thread(target=lambda: answers.append(segmenter.find(pixels, ["person"])[0].box)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 8
        assert len(set(answers)) == 1


class TestTiles:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 12000), st.integers(1, 12000))
    def test_sides_are_multiples_where_a_network_wants_them(self, height: int, width: int):
        size = network_size((height, width), 224, 16)
        assert all(side % 16 == 0 and side >= 16 for side in size)
        plain = network_size((height, width), 224)
        assert all(abs(ours - theirs) <= 8 for ours, theirs in zip(size, plain, strict=True))

    @given(st.integers(1, 3000), st.integers(1, 60000))
    def test_pieces_of_a_panorama_cover_it(self, height: int, width: int):
        places = pieces((height, width))
        if max(height, width) <= 4 * min(height, width):
            assert places == [(0, 0, width, height)]
            return
        covered = np.zeros(max(height, width), np.bool_)
        for x0, y0, x1, y1 in places:
            short, long = sorted((x1 - x0, y1 - y0))
            assert short == min(height, width)
            assert long == 2 * short or max(height, width) > 24 * short
            covered[slice(x0, x1) if width > height else slice(y0, y1)] = True
        assert covered.all()
        assert len(places) <= 16, "a line of pixels is no reason to look a thousand times"

    @pytest.mark.parametrize("upright", [False, True])
    def test_a_panorama_is_not_squeezed(self, upright: bool):
        pixels = np.full((60, 900, 3), 90, np.uint8)
        mask = np.zeros((60, 900), np.bool_)
        mask[20:31, 610:621] = True  # 0.2 % of the strip, 1.7 % of its piece
        pixels[mask] = (255, 0, 0)
        if upright:
            pixels, mask = np.ascontiguousarray(pixels.transpose(1, 0, 2)), mask.T
        for look in (toy(short_side=60).find, toy(short_side=60).look_again):
            (found,) = look(pixels, ["person"])
            assert (found.mask & mask).sum() > 0.9 * (found.mask | mask).sum()

    @given(st.integers(1, 12000), st.integers(1, 12000), st.sampled_from([64, 224, 520]))
    def test_tiles_are_few_and_cover_the_photo(self, height: int, width: int, side: int):
        boxes = semantic.tiles((height, width), side)
        assert len(boxes) <= 16
        if boxes:
            assert min(height, width) >= side
            for axis, length in ((0, width), (1, height)):
                spans = sorted({(box[axis], box[axis + 2]) for box in boxes})
                assert spans[0][0] == 0
                assert spans[-1][1] == length
                assert all(after[0] < before[1] for before, after in itertools.pairwise(spans))

    def test_photos_near_the_networks_scale_need_none(self):
        assert semantic.tiles((520, 780), 520) == []
        assert semantic.tiles((600, 900), 520) == []
        assert 1 < len(semantic.tiles((3000, 4000), 520)) <= 16

    def test_an_object_too_small_for_the_overview_is_found_in_a_tile(self, monkeypatch: pytest.MonkeyPatch):
        box = (100, 300, 124, 324)
        pixels, segmenter = scene(512, 512, box), toy(sight=5)
        (found,) = segmenter.find(pixels, ["person"], confidence=0.8)
        assert iou(found, box) > 0.6
        monkeypatch.setattr(semantic, "tiles", lambda *_: [])
        assert segmenter.find(pixels, ["person"], confidence=0.8) == []

    def test_an_object_in_the_overlap_of_tiles_is_found_once(self):
        boxes = semantic.tiles((512, 512), 64)
        x0, x1 = boxes[1][0], boxes[0][2]
        centre = (x0 + x1) // 2
        found = toy().find(scene(512, 512, (centre - 8, centre - 8, centre + 8, centre + 8)), ["person"])
        assert len(found) == 1

    def test_what_the_overview_found_is_not_found_again(self):
        found = toy().find(scene(512, 512, (100, 100, 400, 400)), ["person"])
        assert len(found) == 1

    def test_an_object_has_the_same_number_whichever_classes_are_asked_for(self):
        """What only a tile sees around the overview's car is nobody, not for a request that is for persons alone either."""
        alone = (400, 400, 424, 424)
        pixels = scene(512, 512, (20, 20, 32, 200), (20, 188, 200, 200), alone)  # an L, too thin for the overview
        pixels[80:160, 80:160] = (0, 0, 255)
        segmenter = toy(sight=5, gain=20)
        found = segmenter.find(pixels, ["car", "person"])
        assert [each.label for each in found] == ["car", "person"]
        assert iou(found[1], alone) > 0.6
        for one in found:
            assert [each.box for each in segmenter.find(pixels, [one.label])] == [one.box]

    def test_a_photo_full_of_texture_is_not_a_person_in_each_tile(self):
        """A tile that is all object is texture seen too close: objects end inside their tile."""
        segmenter = toy()
        segmenter._overview = lambda pixels: semantic.Scores(  # type: ignore[method-assign]
            np.full((2, 64, 64), -1, np.float32), np.zeros((2, 64, 64), np.float32)
        )
        assert segmenter.find(scene(512, 512, (0, 0, 512, 512)), ["person"]) == []


class TestOutline:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 90), st.integers(1, 90), st.integers(0, 10**6))
    def test_bands_and_crops_equal_a_whole_interpolation(self, h: int, w: int, height: int, width: int, seed: int):
        logits = np.random.default_rng(seed).normal(size=(h, w)).astype(np.float32)
        whole = torch.nn.functional.interpolate(
            torch.from_numpy(logits)[None, None].double(), (height, width), mode="bilinear"
        )[0, 0].numpy()
        mask = np.zeros((height, width), bool)
        found = outline.positive_crop(logits, (height, width))
        if found is not None:
            crop, (x, y) = found
            mask[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        doubtful = np.abs(whole) < 1e-5
        assert ((mask == (whole > 0)) | doubtful).all()

    def test_a_small_object_in_a_huge_photo_stays_small(self):
        logits = np.full((520, 780), -1, np.float32)
        logits[100:110, 200:210] = 1
        crop, corner = outline.positive_crop(logits, (8000, 12000))
        assert crop.size < 100_000
        assert abs(corner[0] - 200 * 12000 / 780) < 50

    def test_large_gaps_stay_open(self):
        ring = np.ones((100, 100), bool)
        ring[20:80, 20:80] = False
        assert (outline.close_small_gaps(ring) == ring).all()
        ring[:] = True
        ring[50:53, 50:53] = False
        ring[0:3, 40:43] = False  # open to the outside: a bay, no gap
        filled = outline.close_small_gaps(ring)
        assert filled[51, 51]
        assert not filled[1, 41]


def random_value(key: str, like: Tensor) -> Tensor:
    if not like.is_floating_point():
        return torch.zeros(like.shape, dtype=like.dtype)
    if like.ndim > 1:
        return torch.randn(like.shape) * (2 / like[0].numel()) ** 0.5
    return torch.rand(like.shape) + 0.5 if key.endswith(("weight", "running_var")) else torch.randn(like.shape) * 0.1


def saved(tmp_path: Path, name: str) -> tuple[Path, nn.Module]:
    """A network with random weights, norms that have seen something, and a PyTorch file of it."""
    torch.manual_seed(0)
    network = skeleton(name)
    state = {key: random_value(key, value) for key, value in network.state_dict().items()}
    network.load_state_dict(state, assign=True)
    path = tmp_path / "weights.pth"
    if name == "deeplabv3_resnet50":
        state["aux_classifier.4.weight"] = torch.zeros(21, 256, 1, 1)  # the published files carry the training head too
    torch.save(state, path)
    return path, network


@pytest.fixture(scope="module", params=[name for name, architecture in ARCHITECTURES.items() if architecture.boxes])
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Segmenter]:
    """A Mask R-CNN with random weights, plain and as it is loaded from its file; neither may be changed."""
    path, network = saved(tmp_path_factory.mktemp("detector"), request.param)
    segmenter = segmentation.load(path, device=CPU, dtype=FP32)
    path.unlink()
    return network, segmenter


class TestLoad:
    @pytest.mark.parametrize(
        "name",
        ["slim-deeplab-voc21", "deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"],
    )
    def test_a_files_keys_tell_its_architecture_and_folding_changes_nothing(self, tmp_path: Path, name: str):
        path, network = saved(tmp_path, name)
        segmenter = segmentation.load(path, device=CPU, dtype=FP32)
        assert isinstance(segmenter, Segmenter)
        assert segmenter.name == name
        assert "person" in segmenter.classes
        assert "background" not in segmenter.classes
        image = torch.randn(1, 3, 33, 49)
        with torch.inference_mode():
            plain, folded = network(image)["out"], segmenter._network(image)["out"]
        assert not [m for m in segmenter._network.modules() if isinstance(m, nn.BatchNorm2d)]
        assert torch.allclose(plain, folded, atol=1e-4 * float(plain.abs().max()))

    @pytest.mark.parametrize("name", list(ARCHITECTURES))
    def test_every_architecture_is_recognised(self, name: str):
        state = skeleton(name).state_dict()
        found = network_in({key: value for key, value in state.items() if "num_batches" not in key}, Path("x"))
        assert found[0] == name

    def test_safetensors_in_half_precision(self, tmp_path: Path):
        _, network = saved(tmp_path, "lraspp_mobilenet_v3_large")
        path = tmp_path / "weights.safetensors"
        save_file({k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}, path)
        assert segmentation.load(path, device=CPU, dtype=torch.bfloat16).find(scene(40, 60), ["cat"]) is not None

    @pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04" + bytes(100)])
    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_a_damaged_file_is_a_model_error(self, tmp_path: Path, content: bytes, suffix: str):
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(content)
        with pytest.raises(ModelError, match="weights"):
            segmentation.load(path, device=CPU, dtype=FP32)

    def test_a_file_with_code_is_refused_unexecuted(self, tmp_path: Path):
        class Evil:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "executed",))

        path = tmp_path / "evil.pth"
        torch.save({"a": Evil()}, path)
        with pytest.raises(ModelError, match="more than weights"):
            segmentation.load(path, device=CPU, dtype=FP32)
        assert not (tmp_path / "executed").exists()

    def test_unknown_weights_are_a_model_error(self, tmp_path: Path):
        path = tmp_path / "weights.pth"
        torch.save({"a": torch.zeros(1)}, path)
        with pytest.raises(ModelError, match="no known segmenter"):
            segmentation.load(path, device=CPU, dtype=FP32)

    def test_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("OBJREMOVE_HOME", str(tmp_path))
        with pytest.raises(UsageError, match="deeplabv3_resnet50"):
            segmentation.load("deeplabv3_resnet5", device=CPU, dtype=FP32)
        with pytest.raises(UsageError, match="no segmenter, its kind is prompter"):
            segmentation.load("sam_vit_b", device=CPU, dtype=FP32)
        with pytest.raises(ModelError, match="models pull deeplabv3_resnet50"):
            segmentation.load("deeplabv3_resnet50", device=CPU, dtype=FP32, offline=True)

    def test_importing_the_room_loads_no_torch(self):
        script = "import sys, objremove.segmentation; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


class TestMaskRCNN:
    def test_it_runs_and_answers_inside_the_photo(self, detector, monkeypatch: pytest.MonkeyPatch):
        """With random weights it finds nonsense: what is tested is that nonsense of every class lands inside the photo."""
        _, segmenter = detector
        monkeypatch.setattr(segmenter, "_architecture", replace(segmenter._architecture, short_side=64))
        assert len(segmenter.classes) == 80
        pixels = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
        for found in segmenter.find(pixels, segmenter.classes, confidence=0.0):
            x0, y0, x1, y1 = found.box
            assert 0 <= x0 < x1 <= 83
            assert 0 <= y0 < y1 <= 61

    def test_a_long_strip_changes_nothing_for_the_photos_after_it(self, detector, monkeypatch: pytest.MonkeyPatch):
        """torchvision tells the scales of the levels by the first photo, and its padding misleads it."""
        _, segmenter = detector
        monkeypatch.setattr(segmenter, "_architecture", replace(segmenter._architecture, short_side=64))
        segmenter.find(scene(30, 1000), segmenter.classes, confidence=0.0)
        for pooler in (segmenter._network.roi_heads.box_roi_pool, segmenter._network.roi_heads.mask_roi_pool):
            assert pooler.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]

    def test_the_names_of_its_first_weights_are_known(self, detector):
        network, _ = detector
        new = network.state_dict()
        old = {
            re.sub(r"mask_head\.(\d)\.0\.", lambda at: f"mask_head.mask_fcn{int(at[1]) + 1}.", key)
            .replace("rpn.head.conv.0.0.", "rpn.head.conv.")
            .replace("s.0.0.", "s.0.")
            .replace("s.1.0.", "s.1.")
            for key in new
        }
        assert len(old - set(new)) > 5
        assert set(renamed({**dict.fromkeys(old)})) == set(new) == set(renamed(new))

    def test_folding_changes_nothing(self, detector):
        network, segmenter = detector
        image = torch.randn(1, 3, 33, 64)
        with torch.inference_mode():
            plain, folded = network.backbone(image), segmenter._network.backbone(image)
        assert not [m for m in segmenter._network.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
        assert all(torch.allclose(plain[key], folded[key], atol=1e-4 * float(plain[key].abs().max())) for key in plain)

    @pytest.mark.parametrize("box", [(10.0, 20.0, 66.0, 76.0), (-20.0, -5.0, 30.0, 40.0), (80.0, 60.0, 130.0, 120.0)])
    def test_a_full_mask_fills_its_box_and_no_more(self, box: tuple[float, float, float, float]):
        detection = Detection(1, 0.9, box, np.ones((28, 28), np.float32))
        found = instance_room.paste(detection, (100, 120), label="person", source="toy")
        inside = (max(0, box[0]), max(0, box[1]), min(120, box[2]), min(100, box[3]))
        assert np.abs(np.subtract(found.box, inside)).max() <= 1
        assert found.boundary_error == pytest.approx(max(box[2] - box[0], box[3] - box[1]) / 56)

    def test_a_box_outside_the_photo_is_nothing(self):
        detection = Detection(1, 0.9, (200.0, 10.0, 240.0, 50.0), np.ones((28, 28), np.float32))
        assert instance_room.paste(detection, (100, 120), label="person", source="toy") is None

    def test_the_paste_is_torchvisions(self):
        from torchvision.models.detection.roi_heads import paste_masks_in_image

        mask = np.random.default_rng(3).random((28, 28)).astype(np.float32)
        mask = outline._sample(
            outline._sample(mask[::7, ::7], np.arange(28), 1 / 7, axis=0), np.arange(28), 1 / 7, axis=1
        )
        box = (31.3, 12.8, 171.9, 107.1)
        found = instance_room.paste(Detection(1, 1.0, box, mask), (150, 200), label="person", source="toy")
        theirs = paste_masks_in_image(torch.from_numpy(mask)[None, None], torch.tensor([box]), (150, 200))[0, 0] > 0.5
        shared, either = (found.mask & theirs.numpy()).sum(), (found.mask | theirs.numpy()).sum()
        assert shared / either > 0.95

    def test_one_object_found_twice_is_one(self):
        mask = np.zeros((50, 50), bool)
        mask[10:40, 10:40] = True
        sure = Instance.from_mask(mask, label="car", score=0.9)
        doubtful = Instance.from_mask(np.roll(mask, 2, 0), label="truck", score=0.6)
        other = Instance.from_mask(np.roll(mask, 18, 1), label="car", score=0.5)
        assert instance_room.distinct([doubtful, sure, other]) == [sure, other]

    def test_confidence_and_labels_choose(self, monkeypatch: pytest.MonkeyPatch):
        full = np.ones((28, 28), np.float32)
        found = [Detection(1, 0.9, (0, 0, 20, 20), full), Detection(3, 0.6, (30, 0, 60, 30), full)]
        found.append(Detection(1, 0.3, (0, 40, 20, 60), full))
        segmenter = InstanceSegmenter(
            nn.Identity(), "toy", ARCHITECTURES["maskrcnn_resnet50_fpn"], device=CPU, dtype=FP32
        )
        monkeypatch.setattr(segmenter, "_detect", lambda _: found)
        pixels = scene(70, 70)
        assert [each.label for each in segmenter.find(pixels, ["person", "car"])] == ["car", "person"]
        assert len(segmenter.find(pixels, ["person"], confidence=0.1)) == 2

    def test_an_object_found_as_two_classes_is_the_surer_one_whichever_is_asked_for(self, monkeypatch):
        car, truck, full = 3, 8, np.ones((28, 28), np.float32)
        found = [Detection(car, 0.9, (10, 10, 40, 40), full), Detection(truck, 0.6, (10, 11, 40, 41), full)]
        segmenter = InstanceSegmenter(
            nn.Identity(), "toy", ARCHITECTURES["maskrcnn_resnet50_fpn"], device=CPU, dtype=FP32
        )
        monkeypatch.setattr(segmenter, "_detect", lambda _: found)
        assert [each.label for each in segmenter.find(scene(70, 70), ["car", "truck"])] == ["car"]
        assert segmenter.find(scene(70, 70), ["truck"]) == []


class TestEmbedded:
    """The weights that ship: that they load, and that they see what is plain to see."""

    @pytest.fixture
    def segmenter(self) -> Segmenter:
        return segmentation.load("slim-deeplab-voc21", device=CPU, dtype=FP32)

    def test_it_knows_vocs_classes(self, segmenter: Segmenter):
        assert len(segmenter.classes) == 20
        assert segmenter.name == "slim-deeplab-voc21"

    def test_an_empty_wall_holds_nothing(self, segmenter: Segmenter):
        assert segmenter.find(np.full((240, 320, 3), 180, np.uint8), segmenter.classes) == []

    def test_reading_its_file_gives_floats(self):
        from objremove import models

        state = read_state(models.checked_path("slim-deeplab-voc21"))
        assert {value.dtype for value in state.values()} == {torch.float32, torch.int64}
