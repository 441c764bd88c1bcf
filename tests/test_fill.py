"""Filling: outside the hole nothing changes, ever; inside, scale, overlap and tone are handled."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objremove.errors import UsageError
from objremove.inpainting.classical import CLASSICAL, load_classical
from objremove.inpainting.detail import enlarge_with_detail, reduce
from objremove.inpainting.fill import fill_hole
from objremove.inpainting.tones import level_step, match_tones
from objremove.instances import Instance
from objremove.masks import Hole, build_hole


class Mean:
    """A toy inpainter: every hole pixel becomes the mean of the window's known pixels. It notes what it was given."""

    name = "mean"
    modulo = 8

    def __init__(self, hole_width=64, sharp_width=None, hole_area=10**9, window_side=256, batch_size=4):
        self.hole_width, self.sharp_width, self.hole_area = hole_width, sharp_width or hole_width, hole_area
        self.window_side, self.batch_size = window_side, batch_size
        self.seen = []

    def fill(self, windows, holes):
        assert windows.dtype == np.float32
        assert windows.min() >= 0
        assert windows.max() <= 1
        assert (~holes).any(axis=(1, 2)).all()
        self.seen.append(windows.shape)
        filled = windows.copy()
        for window, hole in zip(filled, holes, strict=True):
            window[hole] = window[~hole].mean(axis=0)
        return filled


def photo(height, width, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    wave = np.linspace(0, 6, height)[:, None, None] + np.linspace(0, 4, width)[None, :, None] + np.arange(3)
    return ((0.5 + 0.4 * np.sin(wave) + rng.normal(0, 0.03, (height, width, 3))).clip(0, 1) * top).astype(dtype)


@given(
    st.integers(1, 150),
    st.integers(1, 150),
    st.sampled_from([np.uint8, np.uint16]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 6),
)
@settings(max_examples=60, deadline=None)
def test_outside_the_hole_every_bit_stays(height, width, dtype, seed, feather):
    rng = np.random.default_rng(seed)
    pixels = photo(height, width, dtype, seed)
    mask = np.kron(rng.random((height // 9 + 1, width // 9 + 1)) < 0.3, np.ones((9, 9), bool))[:height, :width]
    if mask.all():
        return
    before = pixels.copy()
    filled = fill_hole(pixels, Hole(mask, mask & (rng.random(mask.shape) < 0.5), feather), Mean())
    assert filled.pixels.dtype == dtype
    assert np.array_equal(filled.pixels[~mask], before[~mask])
    assert np.array_equal(pixels, before)
    assert filled.pixels is not pixels


def test_a_hole_over_everything_is_an_error_and_no_hole_is_the_identity():
    pixels = photo(40, 50)
    with pytest.raises(UsageError, match="whole photo"):
        fill_hole(pixels, Hole.hard(np.ones((40, 50), bool)), Mean())
    inpainter = Mean()
    same = fill_hole(pixels, Hole.hard(np.zeros((40, 50), bool)), inpainter)
    assert np.array_equal(same.pixels, pixels)
    assert inpainter.seen == []


@pytest.mark.parametrize("name", CLASSICAL)
def test_classical_inpainters_fill_plausibly_and_repeatably(name):
    ramp = np.tile(np.linspace(40, 210, 160).astype(np.uint8)[None, :, None], (120, 1, 3))
    mask = np.zeros((120, 160), bool)
    mask[50:75, 70:95] = True
    damaged = np.where(mask[:, :, None], np.uint8(255), ramp)
    first = fill_hole(damaged, Hole.hard(mask), load_classical(name)).pixels
    second = fill_hole(damaged, Hole.hard(mask), load_classical(name)).pixels
    assert np.array_equal(first, second)
    assert np.abs(first.astype(int) - ramp)[mask].mean() < 25


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("height", [40, 48, 60])
def test_small_windows_are_filled_alike_in_every_thread(name, height):
    """OpenCV's shift-map reads past its list of offsets in windows like these, unless they are mirrored to more of them."""
    blots = np.random.default_rng(0).integers(0, 256, (height // 6, 13, 3), dtype=np.uint8)
    pixels = np.kron(blots, np.ones((6, 6, 1), np.uint8))
    mask = np.zeros(pixels.shape[:2], bool)
    mask[16:-10, 10:-12] = True

    def fill(_):
        return fill_hole(pixels, Hole.hard(mask), load_classical(name)).pixels

    with ThreadPoolExecutor(1) as fresh:
        assert np.array_equal(fill(0), next(fresh.map(fill, [0])))


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("size", [(1, 200), (200, 1), (2, 90)])
def test_lines_of_pixels_are_filled_alike_every_time(name, size):
    pixels, mask = photo(*size), np.zeros(size, bool)
    mask.reshape(-1)[40:70] = True
    fills = [fill_hole(pixels, Hole.hard(mask), load_classical(name)).pixels.tobytes() for _ in range(12)]
    assert len(set(fills)) == 1


@pytest.mark.parametrize("where", [np.s_[:, :2700], np.s_[:, 300:], np.s_[:, :1400], np.s_[:, 1:]])
@pytest.mark.parametrize("turned", [False, True])
def test_a_long_hole_is_filled_from_where_something_is_known(where, turned):
    pixels = np.full((20, 3000, 3), 60, np.uint8)
    mask = np.zeros((20, 3000), bool)
    mask[where] = True
    pixels[mask] = 250
    if turned:
        pixels, mask = np.ascontiguousarray(pixels.swapaxes(0, 1)), np.ascontiguousarray(mask.T)
    inpainter = Mean()  # which asserts that every window has known pixels
    assert (fill_hole(pixels, Hole.hard(mask), inpainter).pixels == 60).all()
    assert len(inpainter.seen) > 1


def test_a_figure_on_transparency_has_nothing_to_be_filled_from_and_is_filled():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    seen, mask = np.zeros((300, 500), bool), np.zeros((300, 500), bool)
    seen[90:210, 60:180] = seen[90:210, 330:450] = True
    mask[80:220, 320:460] = True
    inpainter = Mean(sharp_width=20, window_side=512)
    filled = fill_hole(pixels, Hole.hard(mask), inpainter, hidden=~seen).pixels
    assert np.array_equal(filled[~mask], pixels[~mask])
    assert (filled[mask] != pixels[mask]).any()


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("size", [(1, 2), (2, 1), (5, 3), (9, 200)])
def test_classical_inpainters_take_tiny_windows(name, size):
    pixels = photo(*size)
    mask = np.zeros(size, bool)
    mask[0, 0] = True
    filled = fill_hole(pixels, Hole.hard(mask), load_classical(name)).pixels
    assert np.array_equal(filled[~mask], pixels[~mask])


def test_equal_windows_share_a_batch_and_batching_changes_nothing():
    pixels = photo(700, 700)
    mask = np.zeros((700, 700), bool)
    for y in range(60, 700, 290):
        for x in range(60, 700, 290):
            mask[y : y + 12, x : x + 12] = True
    together, alone = Mean(batch_size=4), Mean(batch_size=1)
    one = fill_hole(pixels, Hole.hard(mask), together).pixels
    other = fill_hole(pixels, Hole.hard(mask), alone).pixels
    assert np.array_equal(one, other)
    assert max(shape[0] for shape in together.seen) == 4
    assert sum(shape[0] for shape in together.seen) == len(alone.seen) == 9


def test_cells_of_a_long_hole_leave_no_step_between_them():
    pixels = np.full((120, 1500, 3), 100, np.uint8)
    pixels[:, :, 0] = np.linspace(50, 200, 1500).astype(np.uint8)
    mask = np.zeros((120, 1500), bool)
    mask[50:70, 20:1480] = True
    inpainter = Mean(hole_width=64, window_side=256)
    filled = fill_hole(pixels, Hole.hard(mask), inpainter)
    assert len(filled.windows) > 4
    row = filled.pixels[60, 30:1470, 0].astype(int)
    # The toy's fills differ by the gradient from cell to cell; blended over the overlap, no two neighbours jump.
    assert np.abs(np.diff(row)).max() <= 3


def test_the_soft_edge_goes_on_where_cells_of_a_long_hole_overlap():
    class Black(Mean):
        def fill(self, windows, holes):
            return np.where(holes[..., None], np.float32(0), windows)

    pixels = (
        np.random.default_rng(0).integers(120, 255, (120, 1500, 3)).astype(np.uint8)
    )  # too rough for tones to be levelled
    mask = np.zeros((120, 1500), bool)
    mask[40:80, 20:1480] = True
    core = np.zeros_like(mask)
    core[52:68, 32:1468] = True
    filled = fill_hole(pixels, Hole(mask, core, 8), Black(hole_width=64, window_side=256)).pixels
    shares = (filled[40, 30:1470] / pixels[40, 30:1470]).mean(axis=1)
    assert shares.min() > 0.8, "one pixel inside, the ninth part of the fill is seen, everywhere"


def test_a_soft_edge_that_is_wider_than_its_ring_takes_the_whole_ring():
    pixels, mask, core = np.full((80, 80, 3), 200, np.uint8), np.zeros((80, 80), bool), np.zeros((80, 80), bool)
    mask[20:60, 20:60], core[24:56, 24:56] = True, True
    pixels[mask] = 100

    filled = fill_hole(pixels, Hole(mask, core, 30), Mean()).pixels[40, 20:40, 0].astype(int)
    assert (filled[4:] == 200).all()
    assert (np.diff(filled[:5]) > 10).all(), "it rises all the way"


def test_the_source_never_shines_through_the_object():
    pixels = np.full((80, 80, 3), 10, np.uint8)
    object_mask = np.zeros((80, 80), bool)
    object_mask[30:50, 30:50] = True
    pixels[object_mask] = 250
    one = Instance.from_mask(object_mask, label="person")
    hole = build_hole([one], (80, 80), dilate=9, feather=5)
    filled = fill_hole(pixels, hole, Mean()).pixels
    assert (filled == 10).all()


def test_progress_counts_windows_and_may_cancel():
    pixels, mask = photo(600, 600), np.zeros((600, 600), bool)
    mask[50:60, 50:60] = mask[500:510, 500:510] = True
    steps = []
    fill_hole(pixels, Hole.hard(mask), Mean(batch_size=1), progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 2), (2, 2)]

    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_hole(pixels, Hole.hard(mask), Mean(), progress=cancel)


def test_a_fill_at_reduced_scale_gets_the_detail_of_its_surroundings():
    rng = np.random.default_rng(1)
    texture = (0.5 + rng.normal(0, 0.12, (400, 400, 3))).clip(0, 1).astype(np.float32)
    hole = np.zeros((400, 400), bool)
    hole[120:280, 120:280] = True
    small = reduce(texture, (100, 100))
    small_hole = np.zeros((100, 100), bool)
    small_hole[30:70, 30:70] = True
    small[small_hole] = 0.5
    sharp = enlarge_with_detail(np.where(hole[:, :, None], 0, texture).astype(np.float32), hole, small, small_hole)

    def contrast(picture):
        return float(np.abs(np.diff(picture, axis=1)).mean())

    assert contrast(sharp[140:260, 140:260]) > 0.6 * contrast(texture[140:260, 140:260])


def test_tones_follow_the_surroundings_and_structures_do_not():
    view = np.full((60, 60, 3), 0.5, np.float32)
    hole = np.zeros((60, 60), bool)
    hole[20:40, 20:40] = True
    drifted = view + np.float32(0.05)
    assert np.abs(match_tones(view, hole, drifted)[hole] - 0.5).max() < 0.01
    other = view + np.float32(0.3)
    assert np.array_equal(match_tones(view, hole, other), other)


def test_a_copied_fill_takes_the_tones_of_its_surroundings_and_keeps_its_texture():
    rng = np.random.default_rng(0)
    texture = rng.normal(0, 0.03, (80, 100, 1)).astype(np.float32)
    light = np.linspace(0.4, 0.6, 100, dtype=np.float32)[None, :, None]
    around = np.repeat(light + texture, 3, axis=2)
    hole = np.zeros((80, 100), np.bool_)
    hole[20:60, 30:75] = True
    picture = np.where(hole[:, :, None], around * 0 + 0.35 + texture, around)
    levelled = level_step(picture, hole)
    assert np.array_equal(levelled[~hole], picture[~hole])
    rest = (levelled - texture - light)[hole]
    assert np.abs(rest.mean(axis=-1)).mean() < 0.02, "it was up to 0.2"
    fine = (levelled - np.asarray(texture))[30:50, 40:65]
    assert np.abs(np.diff(fine, axis=1)).max() < 0.02, "light was added, and no new edges"
