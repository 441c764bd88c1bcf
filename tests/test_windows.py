"""Which windows are cut: everything is covered, nothing twice, and the work follows the hole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objremove.inpainting.windows import MOST_PARTS, Limits, find_parts, overlaps, plan_windows

LAMA = Limits(hole_width=250, hole_area=512 * 512, window_side=1024)
SHIFT_MAP = Limits(hole_width=110, hole_area=8_000, window_side=448)
SMALL = Limits(hole_width=20, hole_area=10**9, window_side=192)


def answered(parts, window, shape):
    """(H, W) bool: the hole pixels that a window answers for."""
    mask = np.zeros(shape, bool)
    x0, y0, x1, y1 = window.cell
    mask[y0:y1, x0:x1] = parts.mask(window.cell, window.parts)
    return mask


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.sampled_from([LAMA, SHIFT_MAP, SMALL]),
)
@settings(max_examples=60, deadline=None)
def test_every_hole_pixel_is_answered_for_and_every_window_lies_in_the_photo(height, width, seed, density, limits):
    rng = np.random.default_rng(seed)
    hole = np.kron(rng.random((height // 17 + 1, width // 17 + 1)) < density * 0.4, np.ones((17, 17), bool))
    hole = np.ascontiguousarray(hole[:height, :width])
    parts = find_parts(hole)
    windows = plan_windows(parts, hole.shape, limits)
    covered = np.zeros(hole.shape, int)
    for window in windows:
        x0, y0, x1, y1 = window.rect
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert x0 <= window.cell[0] < window.cell[2] <= x1
        assert y0 <= window.cell[1] < window.cell[3] <= y1
        assert max(window.size) <= limits.window_side
        covered += answered(parts, window, hole.shape)
    assert (covered[hole] >= 1).all()
    if all(window.overlap == 0 for window in windows):
        assert (covered[hole] == 1).all()


def test_windows_of_one_wave_do_not_see_one_anothers_holes():
    rng = np.random.default_rng(3)
    hole = np.kron(rng.random((12, 12)) < 0.2, np.ones((40, 40), bool))
    windows = plan_windows(find_parts(hole), hole.shape, Limits(60, 10**9, 256))
    for one in windows:
        for other in windows:
            if one is not other and one.wave == other.wave:
                assert not overlaps(one.rect, other.cell)


def test_one_object_in_a_large_photo_costs_what_it_costs_in_a_small_one():
    def cost(side):
        hole = np.zeros((side, side), bool)
        hole[300:420, 300:380] = True
        return [window.size for window in plan_windows(find_parts(hole), hole.shape, LAMA)]

    assert cost(800) == cost(6000)
    assert len(cost(800)) == 1


def test_a_wide_object_is_seen_at_reduced_scale_with_context():
    hole = np.zeros((3000, 4000), bool)
    hole[1000:1600, 1500:2100] = True
    (window,) = plan_windows(find_parts(hole), hole.shape, LAMA)
    assert window.scale == pytest.approx(250 / 600, rel=0.05)
    assert 2 <= (window.rect[2] - window.rect[0]) / 600 <= 3.2
    assert window.size[0] % 8 == window.size[1] % 8 == 0


def test_a_long_thin_object_is_cut_into_cells_at_full_scale():
    hole = np.zeros((2000, 6000), bool)
    hole[1000:1012, 100:5900] = True
    windows = plan_windows(find_parts(hole), hole.shape, LAMA)
    assert len(windows) > 3
    assert all(window.scale == 1 for window in windows)
    assert sum(window.size[0] * window.size[1] for window in windows) < 0.35 * hole.size


def test_many_small_holes_share_their_size_so_that_they_can_share_a_batch():
    hole = np.zeros((2000, 2000), bool)
    for y in range(100, 2000, 400):
        for x in range(100, 2000, 400):
            hole[y : y + 20, x : x + 20] = True
    windows = plan_windows(find_parts(hole), hole.shape, LAMA)
    assert len({window.size for window in windows}) == 1
    assert {window.wave for window in windows} == {0}


def test_neighbouring_holes_are_filled_in_one_window():
    hole = np.zeros((1000, 1000), bool)
    hole[480:500, 480:500] = hole[480:500, 510:530] = True
    assert len(plan_windows(find_parts(hole), hole.shape, LAMA)) == 1


@pytest.mark.parametrize(("modulo", "quantum"), [(1, 64), (8, 64), (48, 96), (128, 128)])
def test_sides_are_multiples_of_what_the_inpainter_wants(modulo, quantum):
    assert Limits(100, 10**6, 512, modulo).quantum == quantum


def test_no_hole_no_windows():
    assert plan_windows(find_parts(np.zeros((50, 70), bool)), (50, 70), LAMA) == []


@pytest.mark.parametrize(("height", "width"), [(600, 600), (346, 1040), (1040, 346), (260, 1386), (1800, 200)])
def test_an_object_of_three_percent_costs_less_than_a_fifteenth_of_the_photo_whatever_its_shape(height, width):
    hole = np.zeros((3000, 4000), bool)
    hole[700 : 700 + height, 900 : 900 + width] = True
    windows = plan_windows(find_parts(hole), hole.shape, LAMA)
    assert sum(window.size[0] * window.size[1] for window in windows) < hole.size / 15
    assert len(windows) <= 2


def test_cells_without_a_hole_pixel_are_left_out_and_thin_lines_keep_their_scale():
    y, x = np.ogrid[:3000, :4000]
    wire = np.abs(y - 300 - 0.6 * x) < 4
    for limits in (LAMA, SHIFT_MAP):
        parts = find_parts(wire)
        windows = plan_windows(parts, wire.shape, limits)
        assert all(window.scale == 1 for window in windows)
        assert all(answered(parts, window, wire.shape).any() for window in windows)


def test_noise_is_planned_in_bounded_time():
    hole = np.random.default_rng(0).random((1200, 1600)) < 0.02
    parts = find_parts(hole)
    assert len(parts.boxes) <= MOST_PARTS
    windows = plan_windows(parts, hole.shape, LAMA)
    covered = sum(answered(parts, window, hole.shape).astype(int) for window in windows)
    assert (covered[hole] >= 1).all()
    assert sum(window.size[0] * window.size[1] for window in windows) < 6 * hole.size
