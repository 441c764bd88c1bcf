"""From instances to the hole: growth, closed gaps, feather, and masks that people draw."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from objremove.errors import UsageError
from objremove.instances import Instance
from objremove.masks import OWN_MASK, Dilation, build_hole, close_gaps, grow, own_masks, png_of, read_mask


def disc(size=(200, 200), centre=(100, 100), radius=30):
    y, x = np.ogrid[: size[0], : size[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


@given(arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24))), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_grown_mask_holds_the_mask_and_stays_near_it(mask, radius):
    one = Instance.from_mask(mask, label="person")
    if one is None:
        return
    hole = build_hole([one], mask.shape, dilate=radius)
    assert (hole.mask | mask).sum() == hole.mask.sum()
    rows, columns = np.nonzero(mask)
    for y, x in np.argwhere(hole.mask & ~mask):
        # Up and sideways no further than the radius, downwards no further than twice that; or an enclosed gap.
        near = (np.abs(columns - x) <= radius) & (y - rows <= 2 * radius) & (rows - y <= radius)
        assert near.any() or one.area >= 10


def test_growth_goes_further_down_than_up():
    grown, (left, top) = grow(Instance.from_mask(disc(), label="person"), 10)
    assert top == 100 - 30 - 10
    assert left == 100 - 30 - 10
    rows = np.flatnonzero(grown.any(axis=1)) + top
    assert rows.max() == 130 + 20


def test_auto_dilation_follows_the_object_and_the_outline_error():
    dilation = Dilation.parse("auto")
    small = Instance.from_mask(disc(radius=5), label="person")
    large = Instance.from_mask(disc(radius=90), label="person")
    coarse = Instance.from_mask(disc(radius=5), label="person", boundary_error=4.0)
    assert 3 <= dilation.radius(small) < dilation.radius(large) <= 8
    assert dilation.radius(coarse) == dilation.radius(small) + 4


def test_own_masks_are_taken_as_they_are_unless_asked():
    one = Instance.from_mask(disc(), label=OWN_MASK)
    assert np.array_equal(build_hole([one], (200, 200)).mask, disc())
    assert build_hole([one], (200, 200), dilate=5).area > disc().sum()


@pytest.mark.parametrize(("text", "radius"), [("12", 12), ("12px", 12), ("10%", 7), (3, 3), (0, 0)])
def test_dilation_by_pixels_and_percent(text, radius):
    assert Dilation.parse(text).radius(Instance.from_mask(disc(), label="person")) == radius


@pytest.mark.parametrize("text", ["-3", "much", "5 %%", "nan", "9" * 400])
def test_malformed_dilation(text):
    with pytest.raises(UsageError, match="dilate"):
        Dilation.parse(text)


def test_small_gaps_close_and_large_ones_stay():
    mask = disc(radius=60)
    mask[98:103, 98:103] = False
    assert close_gaps(mask, largest=25)[100, 100]
    assert not close_gaps(mask, largest=24)[100, 100]
    assert np.array_equal(close_gaps(mask, largest=0), mask)


def test_an_open_bay_is_no_gap():
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    mask[5:10, 9:11] = False
    assert np.array_equal(close_gaps(mask, largest=1000), mask)


def test_a_speck_hardens_no_other_edge():
    person = Instance.from_mask(disc(), label="person", boundary_error=9)
    speck = Instance.from_crop(np.ones((3, 3), np.bool_), (5, 5), (200, 200), label="person")
    alone, both = (build_hole(going, (200, 200)) for going in ([person], [person, speck]))
    assert alone.feather == both.feather > 1


def test_feather_lies_in_the_grown_ring():
    one = Instance.from_mask(disc(), label="person")
    hole = build_hole([one], (200, 200), dilate=12)
    assert hole.feather == 4
    assert np.array_equal(hole.core, disc())
    assert build_hole([one], (200, 200), dilate=0).feather == 0
    with pytest.raises(UsageError):
        build_hole([one], (200, 200), feather=-1)


@pytest.mark.parametrize(
    "picture",
    [
        disc(),
        disc().astype(np.uint8),
        disc().astype(np.uint8) * 255,
        disc().astype(np.uint16) * 65535,
        disc().astype(np.float32),
        disc().astype(np.int64) * 255,
        disc().astype(np.uint16) * 255,
        disc().astype(np.float64) * 255,
        disc()[:, :, None].repeat(3, axis=2).astype(np.uint8) * 255,
        np.dstack([np.full((200, 200, 3), 255, np.uint8), disc() * np.uint8(255)]),
        np.dstack([np.zeros((200, 200, 3), np.uint8), disc() * np.uint8(255)]),
    ],
    ids=[
        "bool",
        "0/1",
        "0/255",
        "16 bit",
        "float",
        "int64",
        "16 bit of 255",
        "float of 255",
        "rgb",
        "white with alpha",
        "black with alpha",
    ],
)
def test_masks_of_any_kind_are_understood(picture):
    assert np.array_equal(read_mask(picture, (200, 200)), disc())


def test_ringing_of_a_lossy_mask_is_not_hole():
    noisy = disc() * np.uint8(255)
    noisy[0:50] = 9
    assert np.array_equal(read_mask(noisy, (200, 200)), disc())


def test_a_mask_of_labels_or_noise_is_no_silent_nothing():
    with pytest.raises(UsageError, match="brightest pixel is 9 of 255"):
        read_mask(disc() * np.uint8(9), (200, 200))
    assert not read_mask(np.zeros((200, 200), np.uint8), (200, 200)).any()


@pytest.mark.parametrize(("bits", "mode"), [(1, "1"), (8, "L")])
def test_a_mask_as_a_file_is_read_as_the_same_mask(bits, mode):
    picture = Image.open(io.BytesIO(png_of(disc(), bits=bits)))
    assert (picture.format, picture.mode) == ("PNG", mode)
    assert np.array_equal(read_mask(np.asarray(picture), (200, 200)), disc())


def test_what_stays_is_not_grown_into():
    going = Instance.from_mask(disc(centre=(100, 70)), label="person")
    staying = Instance.from_mask(disc(centre=(100, 133)), label="person")
    hole = build_hole([going], (200, 200), spare=[staying], dilate=12)
    assert not (hole.mask & staying.mask).any()
    assert (hole.mask & going.mask).sum() == going.area
    overlapping = Instance.from_mask(disc(centre=(100, 110)), label="person")
    assert (build_hole([going], (200, 200), spare=[overlapping]).mask & going.mask).sum() == going.area


def test_feather_of_an_own_mask_lies_inside_it():
    one = Instance.from_mask(disc(), label=OWN_MASK)
    hole = build_hole([one], (200, 200), feather=6)
    assert np.array_equal(hole.mask, disc())
    assert 0 < hole.core.sum() < disc().sum()
    person = Instance.from_mask(disc(centre=(40, 40), radius=20), label="person")
    assert build_hole([one, person], (200, 200), dilate="auto").feather > 0


def test_a_soft_edge_leaves_nothing_of_a_thin_mask_standing():
    scratch, block = np.zeros((200, 200), bool), np.zeros((200, 200), bool)
    scratch[20:23, 10:190], block[60:100, 60:100] = True, True
    for feather in (2, 8, 30):
        hole = build_hole([Instance.from_mask(scratch | block, label=OWN_MASK)], (200, 200), feather=feather)
        assert hole.core[20:23, 10:190].all(), "thinner than any soft edge"
        assert hole.core[75:85, 75:85].all(), "the middle third, whatever the feather"
        assert not hole.core[60].any()
        assert not (hole.core & ~hole.mask).any()


def test_a_thin_part_of_a_thick_mask_goes_too():
    tailed = np.zeros((200, 200), bool)
    tailed[60:140, 60:140], tailed[98:101, 140:198] = True, True
    core = build_hole([Instance.from_mask(tailed, label=OWN_MASK)], (200, 200), feather=8).core
    assert core[98:101, 150:198].all()
    assert not core[60:66, 60:140].any()
    assert core[70:130, 70:130].all()


@pytest.mark.parametrize("feather", [None, 4, 25])
def test_an_own_mask_goes_whole_where_it_lies_on_what_stays(feather):
    own, stays = (Instance.from_mask(disc(radius=r), label=label) for r, label in ((20, OWN_MASK), (60, "person")))
    assert np.array_equal(build_hole([own], (200, 200), spare=[stays], feather=feather).mask, own.mask)


@pytest.mark.parametrize("shape", [(10, 10), (200, 199), (200,), (200, 200, 5)])
def test_masks_of_another_size_are_refused(shape):
    with pytest.raises(UsageError):
        read_mask(np.zeros(shape, np.uint8), (200, 200))


def test_a_mask_is_a_picture_and_no_file():
    palette = Image.fromarray((~disc()).astype(np.uint8), "P")
    palette.putpalette([255, 255, 255, 0, 0, 0])
    (found,) = own_masks([palette], (200, 200))
    assert np.array_equal(found.mask, disc()), "by its colours, and not by their numbers"
    for mode, values in (("F", disc().astype(np.float32) * 0.9), ("I", disc().astype(np.int32) * 65535)):
        assert np.array_equal(own_masks([Image.fromarray(values, mode)], (200, 200))[0].mask, disc()), mode
    with pytest.raises(UsageError, match="and not its file"):
        own_masks(["mask.png"], (200, 200))
    with pytest.raises(UsageError, match="the channels last"):
        own_masks([np.zeros((3, 200, 200), np.uint8)], (200, 200))
    with pytest.raises(UsageError, match="give bool, integers or floats"):
        own_masks([np.full((200, 200), "x")], (200, 200))


def test_a_float_mask_may_exceed_one_by_what_interpolation_adds():
    assert np.array_equal(read_mask(disc() * 1.04, (200, 200)), disc())
    assert np.array_equal(read_mask(disc() * 255.0, (200, 200)), disc())


def test_instances_count_and_encode_themselves():
    one = Instance.from_mask(disc(), label="person", score=0.5)
    assert one.area == disc().sum()
    assert one.box == (70, 70, 131, 131)
    assert np.array_equal(one.mask, disc())
    from pycocotools import mask as coco

    assert np.array_equal(coco.decode({**one.rle, "counts": one.rle["counts"].encode()}).astype(bool), disc())
    assert one.covers(100, 100)
    assert not one.covers(70, 70)
    assert Instance.from_mask(np.zeros((4, 4), bool), label="person") is None
