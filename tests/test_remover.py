"""The whole road: any kind of photo in, the same kind out, only what was named gone."""

import io
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import BLUE, RED, scene
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import objremove
from objremove import models
from objremove.errors import PhotoError, UsageError
from objremove.instances import Instance

PALE = (200, 200, 240)


def reds(pixels):
    return int((np.abs(np.asarray(pixels).astype(int)[..., :3] - RED).max(axis=-1) < 60).sum())


def test_what_is_named_goes_and_the_rest_stays(remover):
    photo = scene()
    before = photo.copy()
    result = remover(photo, "person")
    assert reds(result.image) == 0
    assert (result.image == BLUE).all(axis=2).sum() == (photo == BLUE).all(axis=2).sum()
    assert np.array_equal(result.image[~result.mask], photo[~result.mask])
    assert np.array_equal(photo, before)
    assert [one.label for one in result.instances] == ["person"] * 3
    assert [one.area for one in result.instances] == sorted((one.area for one in result.instances), reverse=True)
    assert set(result.timings) >= {"read", "find", "fill"}


@pytest.mark.parametrize(
    ("request_", "left"),
    [
        ({"remove": "person"}, 0),
        ({"remove": "person#1"}, 2),
        ({"remove": "person#2-3"}, 1),
        ({"remove": "person", "keep": "largest"}, 1),
        ({"remove": "person", "keep": "center"}, 1),
        ({"remove": "person,car", "keep": ["person"]}, 3),
    ],
)
def test_instances_are_picked_and_kept(remover, request_, left):
    result = remover(scene(), **request_)
    assert sum(one.label == "person" for one in remover.find(result.image, "person")) == left


def as_jpeg(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_every_kind_of_photo_comes_back_as_its_like(remover, tmp_path):
    import torch

    pixels = scene()
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    assert isinstance(remover(path, "person").image, Image.Image)
    assert isinstance(remover(str(path), "person").image, Image.Image)
    picture = remover(Image.fromarray(pixels).convert("RGBA"), "person").image
    assert (picture.mode, picture.size) == ("RGBA", (240, 180))
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
    result = remover(tensor, "person").image
    assert (result.shape, result.dtype) == (tensor.shape, tensor.dtype)
    sixteen = remover(pixels.astype(np.uint16) * 257, "person").image
    assert (sixteen.shape, sixteen.dtype) == (pixels.shape, np.uint16)
    encoded = remover(as_jpeg(pixels), "person").image
    assert isinstance(encoded, bytes)
    assert Image.open(io.BytesIO(encoded)).format == "JPEG"


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from([(), (1,), (3,), (4,)]),
    st.sampled_from([np.uint8, np.uint16, np.float32]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_outside_identity_and_shape_for_every_mode_and_size(remover, height, width, channels, dtype, seed):
    rng = np.random.default_rng(seed)
    array = rng.random((height, width, *channels))
    array = array.astype(dtype) if dtype == np.float32 else (array * np.iinfo(dtype).max).astype(dtype)
    hole = rng.random((height, width)) < 0.2
    if hole.all():
        return
    result = remover.fill(array, hole)
    assert (result.image.shape, result.image.dtype) == (array.shape, array.dtype)
    assert np.array_equal(result.image[~hole], array[~hole])


def test_an_empty_hole_is_the_identity(remover, tmp_path):
    data = as_jpeg(scene())
    result = remover.fill(data, np.zeros((180, 240), bool))
    assert not result.changed
    assert result.image == data
    result.save(tmp_path / "same.jpg")
    assert (tmp_path / "same.jpg").read_bytes() == data


def test_map_gives_what_single_calls_give(remover):
    photos = [scene(), scene(90, 100, ((40, 40, 10, RED),))]
    for one, other in zip(remover.map(photos, "person"), (remover(photo, "person") for photo in photos), strict=True):
        assert np.array_equal(one.image, other.image)


def test_results_name_the_models_that_took_part(remover):
    assert set(remover(scene(), boxes=["40,120,80,160"]).models) == {"grabcut", "telea"}
    assert set(remover(scene(), "person").models) == {"colours", "telea"}


def test_one_shot_iterables_serve_every_photo(remover):
    mask = np.eye(180, 240, dtype=bool)
    results = list(remover.map([scene(), scene()], iter(["person"]), masks=iter([mask])))
    assert [len(result.instances) for result in results] == [4, 4]


def test_what_is_named_and_not_found_is_looked_for_again(remover):
    """The toy finds nothing sure in pale discs; a second look sees them, where the class was named and none was found."""
    toy, asked = remover.shelf.segmenter(), []

    def look_again(pixels, labels, *, confidence=None):
        asked.append(set(labels))
        mask = np.min([np.abs(pixels.astype(int) - colour).max(axis=2) for colour in (PALE, RED)], axis=0) < 10
        return [Instance.from_mask(mask, label=label, score=0.2, source="colours") for label in labels if mask.any()]

    toy.look_again = look_again
    photo = scene(discs=((60, 60, 18, PALE), (170, 120, 12, RED)))
    result = remover(photo, "person,car")
    assert asked == [{"car"}], "persons were found at once"
    assert {one.label: one.second_look for one in result.instances} == {"person": False, "car": True}
    assert any("car was found only at a second look" in note for note in result.warnings)
    assert not any("second look" in note for note in remover(photo, "person,car#2").warnings), "nothing of it goes"
    asked.pop()
    assert not remover(scene(discs=()), "car").instances
    remover(photo, "all")
    assert len(asked) == 2, "nobody named what 'all' stands for"
    kept = remover(scene(discs=((60, 60, 18, RED),)), "car", keep="person")
    assert not kept.instances, "what stays is not taken for what goes"
    remover.second_look = False
    assert not remover(photo, "car").instances


def test_more_of_a_class_is_found_beside_what_is_known_of_it(remover):
    """What a second look adds to a first one, without that."""
    toy, photo = remover.shelf.segmenter(), scene()
    scrap, more = (Instance.from_mask(np.eye(180, 240, k, bool), label="car", score=0.5) for k in (0, 40))
    toy.look_again = lambda pixels, labels, *, confidence=None: [scrap, more] if "car" in labels else []
    toy.find = None
    (found,) = remover.find_more(photo, "car", [scrap])
    assert found.box == more.box
    assert found.second_look
    assert len(remover.find_more(photo, "car", [])) == 2
    assert remover.find_more(photo, "person", [scrap]) == []
    assert len(remover.find_more(photo, "all", [scrap])) == 1, "of the classes that it knows"
    with pytest.raises(UsageError, match="does not know dog"):
        remover.find_more(photo, "dog", [])


def test_more_of_an_object_keeps_nothing_off(remover):
    """Who removes only the first car must not be left with its edge, because the second look saw more of it."""
    toy, photo = remover.shelf.segmenter(), scene(discs=((60, 60, 18, BLUE), (170, 120, 18, BLUE)))
    find = toy.find
    toy.find = lambda *args, **options: [replace(one, score=0.5) for one in find(*args, **options)]
    alone = remover(photo, "car#1")
    wide = np.zeros((180, 240), bool)
    wide[30:150, 30:200] = True
    toy.look_again = lambda pixels, labels, *, confidence=None: [Instance.from_mask(wide, label="car", score=0.2)]
    both = remover(photo, "car#1")
    assert [one.extends for one in both.kept] == [False, True]
    assert np.array_equal(both.mask, alone.mask)
    assert "found car#1-3" in remover(photo, "car#9").warnings[0]


def test_a_remover_goes_to_another_process_without_its_models(remover):
    remover(scene(), "person")
    twin = pickle.loads(pickle.dumps(remover))
    assert np.array_equal(twin(scene(), "person").image, remover(scene(), "person").image)
    assert twin.shelf.inpainter() is not remover.shelf.inpainter()


def test_who_keeps_some_of_what_was_found_gets_no_second_look(remover):
    """It might hold the one that stays."""
    toy, photo = remover.shelf.segmenter(), scene()
    scrap, more = (Instance.from_mask(np.eye(180, 240, k, bool), label="car", score=0.5) for k in (0, 40))
    toy.find = lambda pixels, labels, *, confidence=None: [scrap]
    toy.look_again = lambda pixels, labels, *, confidence=None: [more] if "car" in labels else []
    assert len(remover(photo, "car").instances) == 2, "nothing sure was found"
    assert not remover(photo, "car", keep="car#1").instances
    assert not remover(photo, "car", keep="largest").instances


def test_what_is_kept_is_not_touched_by_what_goes_beside_it(remover):
    photo = scene(discs=((60, 90, 20, RED), (104, 90, 22, RED)))
    result = remover(photo, "person", keep="largest")
    (kept,) = result.kept
    assert kept.box[0] == 82
    assert np.array_equal(result.image[kept.mask], photo[kept.mask])


def test_masks_that_stay_are_cut_out_of_what_goes(remover):
    """The search is the same one: its models, seconds and notes are the result's, and what was kept was found."""
    photo = scene()
    left_half = np.zeros(photo.shape[:2], np.uint8)
    left_half[:, :60] = 255  # cuts the largest person, who spans x = 42 to 78, into two
    (plain,) = remover.map([photo], "person,car", keep="car")
    (result,) = remover.map([photo], "person,car", keep="car", keep_masks=[left_half])
    assert not result.mask[:, :60].any()
    assert np.array_equal(result.image[:, :60], photo[:, :60])
    assert result.instances[0].box == (60, 42, 79, 79)
    assert result.mask[60, 60:79].all()
    assert (result.models, result.notes) == (plain.models, plain.notes)
    assert "find" in result.timings
    assert [one.label for one in result.kept] == ["car"]


def test_a_remover_can_be_handed_models_that_others_share(remover):
    again = objremove.Remover(shelf=remover.shelf)
    assert again.inpainter() is remover.inpainter()
    assert np.array_equal(again(scene(), "person").image, remover(scene(), "person").image)
    assert objremove.Remover(shelf=remover.shelf, threads=1, dilate=3, confidence=0.5).shelf is remover.shelf
    with pytest.raises(UsageError, match="inpainter, device, seed beside a shelf"):
        objremove.Remover(inpainter="telea", device="cpu", seed=1, dilate=3, shelf=remover.shelf)


def test_colours_hidden_by_transparency_are_not_filled_from(remover):
    pixels = np.zeros((80, 120, 4), np.uint8)
    pixels[:, :60] = (40, 200, 40, 255)
    pixels[:, 60:] = (255, 0, 255, 0)
    mask = np.zeros((80, 120), bool)
    mask[30:50, 40:60] = True
    filled = remover.fill(pixels, mask).image[mask]
    assert np.abs(filled[:, :3].astype(int) - (40, 200, 40)).max() < 12


def test_what_stays_is_not_filled_from(remover):
    discs = ((110, 90, 20, RED), (150, 90, 16, BLUE))
    photo = scene(discs=discs)
    (blue,) = remover.find(photo, "car")
    ((beside,), (plain,)) = (remover.map([photo], "person", **more) for more in ({"keep_masks": [blue.mask]}, {}))
    behind = scene(discs=())
    off = [np.abs(result.image[beside.mask].astype(int) - behind[beside.mask]).mean() for result in (beside, plain)]
    assert off[0] < 4, "grown from the background alone"
    assert off[0] < off[1] / 2, "and not from the blue disc that stays"
    assert (beside.image[blue.mask] == photo[blue.mask]).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_waits_for_no_lock_that_its_parent_held():
    script = """
import os, sys, threading
import numpy as np
from objremove import Remover
from objremove.pipeline import runner
remover = Remover(inpainter="telea", offline=True)
held, done = threading.Event(), threading.Event()
def hold():
    with remover.shelf._locks["inpainter"], runner._THREADS._lock:
        held.set()
        done.wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    done.set()
    sys.exit(code)
photo, mask = np.zeros((40, 40, 3), np.uint8), np.eye(40, dtype=bool)
os._exit(0 if len(list(remover.map([photo, photo], masks=[mask]))) == 2 else 1)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forks_of_many_threads_leave_opencv_its_threads():
    script = """
import os, threading
import cv2
import objremove.remover
cv2.setNumThreads(5)
def fork():
    for _ in range(20):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
threads = [threading.Thread(target=fork) for _ in range(4)]
[each.start() for each in threads]
[each.join() for each in threads]
raise SystemExit(cv2.getNumThreads() != 5)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("before", ["prepare()", "find(photo)", "fill(photo, mask)"])
def test_a_child_that_is_forked_from_it_fills_as_its_parent_does(before):
    """Threads of OpenMP and OpenCV do not survive a fork, and a lock may be held by one of them."""
    script = f"""
import os, sys
import numpy as np
from objremove import Remover
photo = np.random.default_rng(0).integers(0, 256, (600, 700, 3), np.uint8)
mask = np.zeros(photo.shape[:2], bool)
mask[60:150, 90:190] = True
remover = Remover(offline=True)
remover.{before}
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
same = remover.fill(photo, mask).pixels
other = Remover(offline=True, threads=1).fill(photo, mask).pixels
os._exit(0 if np.array_equal(same, other) and (same != photo).any() else 1)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=120, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["instances", "spare"])
def test_an_instance_of_a_photo_of_another_size_is_refused(remover, kind):
    one = Instance.from_mask(np.ones((60, 80), bool), label="dog")
    with pytest.raises(UsageError, match=r"an instance of a photo of \(60, 80\) \(H, W\) for one of \(180, 240\)"):
        list(remover.map([scene()], **{"instances": [], kind: [one]}))
    for odd in ("dog", {"label": "dog"}, np.ones((180, 240), bool)):
        with pytest.raises(UsageError, match="take an Instance"):
            list(remover.map([scene()], **{"instances": [], kind: [odd]}))


def test_floats_are_filled_in_more_than_eight_bits(remover):
    dark = np.linspace(0.002, 0.01, 240 * 180, dtype=np.float32).reshape(180, 240, 1).repeat(3, 2)
    mask = np.zeros((180, 240), bool)
    mask[60:120, 80:160] = True
    filled = objremove.Remover(inpainter="telea").fill(dark, mask).image
    assert len(np.unique(filled[mask])) > 100
    assert filled[mask].max() < 0.03, "Telea's own work is in 8 bits"
    assert np.array_equal(filled[~mask], dark[~mask])
    assert filled.dtype == np.float32


def test_one_mask_with_channels_is_one_mask(remover):
    mask = np.zeros((180, 240, 3), np.uint8)
    mask[60:120, 80:160] = 255
    assert np.array_equal(remover(scene(), masks=mask).mask, mask[..., 0] > 0)
    assert np.array_equal(remover(scene(), masks=mask[..., :1]).mask, mask[..., 0] > 0)


def test_threads_share_one_remover(remover):
    photos = [scene(discs=((40 + 10 * i, 60, 12, RED),)) for i in range(8)]
    expected = [remover(photo, "person").image for photo in photos]
    answers = [None] * len(photos)

    def work(i):
        answers[i] = remover(photos[i], "person").image

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(photos))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(one, other) for one, other in zip(expected, answers, strict=True))


def test_own_masks_points_and_boxes_join_the_hole(remover):
    mask = np.zeros((180, 240), np.uint8)
    mask[100:110, 10:20] = 255
    result = remover(scene(), "person#1", masks=[mask], boxes=[(40, 120, 80, 160)])
    assert result.mask[105, 15]
    assert result.mask[140, 60]
    assert {one.label for one in result.instances} == {"person", "mask", "box"}
    assert any("GrabCut" in warning for warning in result.warnings)


def test_transparency_goes_with_what_stood_in_it(remover):
    pixels = np.dstack([scene(), np.full((180, 240), 0, np.uint8)])
    y, x = np.mgrid[:180, :240]
    disc = (x - 60) ** 2 + (y - 60) ** 2 <= 18**2
    pixels[disc, 3] = 255
    result = remover(pixels, "person#1")
    assert result.image[60, 60, 3] < 30
    assert np.array_equal(result.image[~result.mask], pixels[~result.mask])


def test_one_of_what_lists_are_asked_of_is_a_list_of_it(remover):
    mask = np.zeros((180, 240), bool)
    mask[100:110, 10:20] = True
    one = remover(scene(), points="60,140", boxes="150,100,190,140", masks=mask)
    several = remover(scene(), points=["60,140"], boxes=["150,100,190,140"], masks=[mask])
    assert np.array_equal(one.mask, several.mask)
    tensor = torch.from_numpy(mask)
    assert np.array_equal(remover.fill(scene(), tensor[None]).mask, remover.fill(scene(), mask).mask)


def test_one_photo_is_no_list_of_photos(remover, tmp_path):
    for photo in ("photo.jpg", tmp_path / "photo.jpg", b"...", scene(), Image.fromarray(scene()), torch.zeros(3, 8, 8)):
        with pytest.raises(UsageError, match="is one photo: give a list of photos"):
            remover.map(photo, "person")
    assert len(list(remover.map(np.stack([scene(), scene()]), "person"))) == 2


def test_results_save_and_show_themselves(remover, tmp_path):
    result = remover(scene(), "person")
    result.save(tmp_path / "clean.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "clean.png")), result.image)
    with pytest.raises(UsageError, match="encode"):
        result.save(io.BytesIO())
    assert result.compare().size == (3 * 240 + 2 * 2, 180)
    data = result.to_dict()
    assert data["hole_area"] == result.mask.sum()
    assert [one["label"] for one in data["removed"]] == ["person"] * 3
    assert data["models"] == {"telea": None, "colours": None}


@pytest.mark.parametrize(
    ("request_", "error", "says"),
    [
        ({}, UsageError, "nothing to remove"),
        ({"remove": "persom"}, UsageError, "person"),
        ({"remove": "bench"}, UsageError, "maskrcnn"),
        ({"remove": "person", "points": [(999, 1)]}, UsageError, "outside"),
        ({"masks": [np.zeros((3, 3))]}, UsageError, "3x3"),
    ],
)
def test_impossible_requests_are_one_line(remover, request_, error, says):
    with pytest.raises(error, match=says) as caught:
        remover(scene(), **request_)
    assert "\n" not in str(caught.value)


def test_photos_that_are_none(remover, tmp_path):
    for name, content in (("empty.jpg", b""), ("text.jpg", b"hello"), ("cut.jpg", as_jpeg(scene())[:900])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PhotoError, match=name):
            remover(tmp_path / name, "person")
    with pytest.raises(PhotoError):
        remover(tmp_path, "person")
    with pytest.raises(PhotoError):
        remover(tmp_path / "missing.jpg", "person")


@pytest.mark.parametrize(
    "arguments",
    [
        *({"device": None}, {"precision": 16}),
        *({"confidence": 2}, {"confidence": "high"}, {"feather": -1}, {"feather": 1.5}, {"threads": 0}),
        *({"threads": True}, {"inpainter": ""}, {"shelf": 3}),
        *({"dilate": "lots"}, {"precision": "fp8"}, {"max_megapixels": 0}, {"seed": None}, {"segmenter": None}),
    ],
)
def test_arguments_that_mean_nothing(arguments):
    with pytest.raises(UsageError):
        objremove.Remover(**{"inpainter": "telea"} | arguments).fill(scene(), np.eye(180, 240, dtype=bool))


def test_numbers_and_masks_of_other_libraries(remover, tmp_path):
    mask = np.zeros((180, 240), bool)
    mask[60:90, 80:120] = True
    expected = objremove.Remover(inpainter="telea", feather=3).fill(scene(), mask, dilate=6)
    result = objremove.Remover(inpainter="telea", feather=np.uint8(3)).fill(scene(), mask, dilate=6)
    assert np.array_equal(result.image, expected.image)
    for own in (torch.from_numpy(mask).to(torch.bfloat16), Image.fromarray(mask)):
        assert np.array_equal(remover(scene(), masks=own).mask, remover(scene(), masks=mask).mask)
    assert objremove.Remover(inpainter="telea", device=torch.device("cpu")).fill(scene(), mask).changed
    for quality in (0, 101):
        with pytest.raises(UsageError, match=r"take 1\.\.100"):
            result.save(tmp_path / "x.jpg", quality=quality)


def test_auto_is_settled_at_the_first_use(tmp_path, monkeypatch):
    monkeypatch.setenv("OBJREMOVE_HOME", str(tmp_path))
    mask = np.zeros((180, 240), bool)
    mask[60:90, 80:120] = True
    remover = objremove.Remover()
    first = remover.fill(scene(), mask).models
    (tmp_path / "big-lama" / "models").mkdir(parents=True)
    (tmp_path / "big-lama" / "models" / "best.ckpt").write_bytes(b"x")
    assert models.locate("big-lama")
    assert remover.fill(scene(), mask).models == first


def test_unknown_models_are_named_with_what_there_is():
    with pytest.raises(UsageError, match="big-lama"):
        objremove.Remover(inpainter="big-lamma").fill(scene(), np.eye(180, 240, dtype=bool))
    with pytest.raises(UsageError, match="deeplabv3"):
        objremove.Remover(segmenter="deeplabv3_resnet110")(scene(), "person")


def test_the_embedded_weights_run_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("OBJREMOVE_HOME", str(tmp_path))
    result = objremove.remove(scene(), "all", offline=True)
    assert "slim-deeplab-voc21" in result.models
    assert result.image.shape == (180, 240, 3)
