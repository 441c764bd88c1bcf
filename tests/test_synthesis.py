"""Texture for fills that are only to be trusted in their structures: copies of the photo that follow a guide."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objremove.inpainting import fill, synthesis
from objremove.inpainting.detail import reduce
from objremove.inpainting.fill import fill_hole
from objremove.inpainting.montage import LIGHT_LIMIT, compose, level
from objremove.inpainting.patches import SIDE, STEP, cover, make_scene
from objremove.inpainting.synthesis import HOLE_WIDTH, synthesize
from objremove.masks import Hole

RNG = np.random.default_rng(0)


def disc(height, width, centre, radius):
    y, x = np.mgrid[:height, :width]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2


def stripes(height, width):
    """Diagonal stripes of period 12."""
    y, x = np.mgrid[:height, :width]
    grey = 0.5 + 0.4 * np.sign(np.sin((x + y) * (2 * np.pi / 12) + 0.1))
    return np.repeat(grey[:, :, None], 3, 2).astype(np.float32)


@pytest.mark.parametrize("scale", [1, 3])
def test_a_texture_goes_on_through_the_hole(scale):
    """At scale 3 the hole is wider than HOLE_WIDTH: patches are chosen at reduced scale, and copied at full."""
    truth = np.kron(stripes(140, 160), np.ones((scale, scale, 1), np.float32))
    hole = disc(140 * scale, 160 * scale, (70 * scale, 80 * scale), 28 * scale)
    assert (2 * 28 * scale > HOLE_WIDTH) == (scale == 3)
    guide = reduce(np.where(hole[:, :, None], np.float32(0.5), truth), (70, 80))
    filled = synthesize(truth, hole, hole, guide)
    assert np.abs(filled - truth)[hole].mean() < 0.08, "a pixel of displacement at most; the guide alone is off by 0.4"


def test_the_guide_says_what_goes_where():
    noise = RNG.normal(0, 0.05, (128, 192, 3))
    bright = np.arange(192)[None, :, None] < 96
    truth = (np.where(bright, 0.8, 0.2) + noise).clip(0, 1).astype(np.float32)
    hole = disc(128, 192, (64, 96), 30)
    for edge in (84, 96, 108):  # where the two grounds meet inside the hole
        inside = np.where(np.arange(192)[None, :, None] < edge, np.float32(0.8), np.float32(0.2))
        guide = reduce(np.where(hole[:, :, None], inside, truth).astype(np.float32), (32, 48))
        middle = synthesize(truth, hole, hole, guide)[64].mean(-1)
        found = 66 + int(np.count_nonzero(middle[66:126] > 0.5))
        assert abs(found - edge) <= 6
        core = np.s_[56:72, 90:102]
        assert synthesize(truth, hole, hole, guide)[core].std() > 0.03, (
            "with the photo's noise, not the guide's smoothness"
        )


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_any_hole_is_filled_with_what_is_known(height, width, seed):
    rng = np.random.default_rng(seed)
    window = rng.random((height, width, 3), dtype=np.float32) * np.float32(0.5)
    cells = rng.random((height // 12 + 1, width // 12 + 1)) < 0.4
    hole = np.kron(cells, np.ones((12, 12), bool))[:height, :width]
    hole[rng.integers(height), rng.integers(width)] = True
    window[hole] = 1  # what is to go
    guide = np.full((max(1, height // 3), max(1, width // 3), 3), 0.25, np.float32)
    before = window.copy()
    filled = synthesize(window, hole, hole, guide)
    if filled is None:  # nothing that is whole enough to be copied
        return
    assert filled.shape == window.shape
    assert filled.dtype == np.float32
    assert filled[hole].min() >= 0
    assert filled[hole].max() < 0.51 + LIGHT_LIMIT, "nothing of the object comes back"
    if np.count_nonzero(hole) >= 50:  # of a few pixels all may happen to be alike
        assert filled[hole].std() > 0.05, "it is the photo's noise, not the guide"
    np.testing.assert_array_equal(window, before)


def test_what_is_copied_from_another_light_is_brought_to_the_light_around():
    light = np.linspace(0, 0.5, 128, dtype=np.float32)[:, None, None]
    truth = 0.2 + light + RNG.random((128, 128, 3), dtype=np.float32) * np.float32(0.05)
    hole = disc(128, 128, (64, 64), 30)
    guide = reduce(cv2.GaussianBlur(truth, (0, 0), 6), (32, 32))
    scene = make_scene(truth, hole, guide, 1)
    patches = cover(scene, hole)
    for shift in (-24, 24):  # as dark, as light as the ground that far above or below
        places = np.clip(patches.corners + np.array((shift, 0)), 0, 112)
        places[..., 1] = 4  # beside the hole
        expected = light[patches.corners[:, 0], 0] - light[places[:, 0], 0]
        tones = level(scene, patches, places)
        np.testing.assert_allclose(tones, np.broadcast_to(expected, tones.shape), atol=0.02)
        filled = compose(truth, hole, guide, scene, patches, places)
        assert abs(filled - truth)[hole].mean() < 0.03
        assert abs(cv2.GaussianBlur(filled - truth, (0, 0), 4))[hole].max() < 0.02


def test_neighbours_from_two_lights_meet_in_the_middle():
    window = np.full((96, 160, 3), 0.35, np.float32)
    window[:, :16], window[:, 16:32] = 0.3, 0.4
    hole = np.zeros((96, 160), bool)
    hole[16:80, 48:144] = True
    scene = make_scene(window, hole, np.full((24, 40, 3), 0.35, np.float32), 1)
    patches = cover(scene, hole)
    light = patches.corners.sum(1) // STEP % 2  # a chessboard
    places = np.stack([patches.corners[:, 0], 16 * light], axis=1)
    copied = np.where(light, 0.4, 0.3)[:, None] + level(scene, patches, places)
    np.testing.assert_allclose(copied, 0.35, atol=0.005)


def test_an_edge_within_the_hole_stays_sharp():
    window = np.full((128, 128, 3), 0.7, np.float32)
    window[:, 64:] = 0.3
    hole = disc(128, 128, (64, 64), 40)
    scene = make_scene(window, hole, window, 1)
    patches = cover(scene, hole)
    places = np.stack([patches.corners[:, 0], np.where(patches.corners[:, 1] + SIDE / 2 < 64, 0, 112)], axis=1)
    assert abs(level(scene, patches, places)).max() < 0.01


def test_another_thing_is_not_painted_over():
    window = np.full((64, 64, 3), 0.2, np.float32)
    window[:, :20] = 0.9
    hole = disc(64, 64, (44, 32), 8)
    scene = make_scene(window, hole, reduce(window, (16, 16)), 1)
    patches = cover(scene, hole)
    assert (level(scene, patches, np.full_like(patches.corners, 2)) == 0).all(), "a step of 0.7 is no light"


def test_a_few_known_patches_are_no_wallpaper():
    window, hole = RNG.random((160, 160, 3), dtype=np.float32), np.ones((160, 160), bool)
    guide = np.full((40, 40, 3), 0.5, np.float32)
    hole[:, :26] = False  # a few places across, at working scale
    assert synthesize(window, hole, hole, guide) is None
    assert synthesize(0.5 + window / 10, hole, hole, guide) is not None, "of so little contrast that nobody sees it"
    hole[:, :100] = False
    assert synthesize(window, hole, hole, guide) is not None


def test_one_small_piece_does_not_become_a_mesh():
    """Only a spot of the meadow is as dark as the guide: copied side by side it would repeat itself at every step."""
    rng = np.random.default_rng(4)
    truth = 0.5 + rng.normal(0, 0.04, (140, 180, 3))
    truth[20:40, 20:40] -= 0.12
    truth = truth.clip(0, 1).astype(np.float32)
    hole = disc(140, 180, (75, 110), 32)
    guide = reduce(np.where(hole[:, :, None], np.float32(0.38), truth), (35, 45))
    inside = synthesize(truth, hole, hole, guide)[60:90, 95:125].mean(-1)
    inside -= cv2.blur(inside, (9, 9))
    again = [
        np.corrcoef(inside[:, :-STEP].ravel(), inside[:, STEP:].ravel())[0, 1],
        np.corrcoef(inside[:-STEP].ravel(), inside[STEP:].ravel())[0, 1],
    ]
    assert max(again) < 0.3


def test_the_same_window_gives_the_same_fill():
    window, hole = RNG.random((96, 96, 3), dtype=np.float32), disc(96, 96, (48, 48), 20)
    guide = reduce(window, (24, 24))
    np.testing.assert_array_equal(synthesize(window, hole, hole, guide), synthesize(window, hole, hole, guide))


def test_without_a_whole_patch_there_is_nothing_to_copy():
    window, hole = np.zeros((20, 20, 3), np.float32), disc(20, 20, (10, 10), 9)
    assert synthesize(window, hole, hole, np.full((5, 5, 3), 0.3, np.float32)) is None


def test_what_is_unknown_is_not_copied_and_only_the_hole_is_covered():
    truth = stripes(120, 160)
    hole, hidden = disc(120, 160, (60, 60), 15), np.zeros((120, 160), bool)
    hidden[:, 110:] = True
    window = np.where(hidden[:, :, None], np.float32(0.123), truth)
    unknown = hole | hidden
    guide = np.where(unknown[:, :, None], np.float32(0.5), truth)
    filled = synthesize(window, unknown, hole, reduce(guide, (30, 40)))
    assert np.abs(filled - truth)[hole].mean() < 0.04
    assert not (np.abs(filled[hole] - 0.123) < 1e-3).any()
    assert np.abs(filled - 0.5)[:, 140:].max() < 0.1, "beyond the hole the guide stays"


def test_scattered_holes_take_bounded_time(monkeypatch):
    seen = []
    monkeypatch.setattr(synthesis, "cover", lambda *given: seen.append(cover(*given)) or seen[-1])
    hole = np.zeros((600, 600), bool)
    hole[20::40, :] = True
    hole[280:320, 280:320] = True
    window = RNG.random((600, 600, 3), dtype=np.float32)
    assert synthesize(window, hole, hole, reduce(window, (150, 150))) is not None
    assert len(seen[0].corners) > synthesis.MOST_PATCHES >= len(seen[-1].corners)


class Blurred:
    """An inpainter that knows the mean of the surroundings, and can be trusted to hardly any detail."""

    name, modulo, hole_area, window_side, batch_size = "blurred", 1, 10**9, 512, 1

    def __init__(self, hole_width, sharp_width):
        self.hole_width, self.sharp_width = hole_width, sharp_width

    def fill(self, windows, holes):
        filled = windows.copy()
        for window, hole in zip(filled, holes, strict=True):
            window[hole] = window[~hole].mean(axis=0)
        return filled


def test_an_inpainter_gets_textures_beyond_its_sharp_width_only():
    pixels = (stripes(160, 200) * 255).astype(np.uint8)
    hole = Hole.hard(disc(160, 200, (80, 100), 25))

    def error(hole_width, sharp_width):
        filled = fill_hole(pixels, hole, Blurred(hole_width, sharp_width)).pixels
        assert (filled[~hole.mask] == pixels[~hole.mask]).all()
        return np.abs(filled.astype(float) - pixels)[hole.mask].mean()

    assert error(100, 100) > 80, "taken as it is"
    assert error(100, 20) < 20
    assert error(40, 20) < 40, "seen at reduced scale, too"


class Dashed(Blurred):
    """Draws the mean of the surroundings, and over it what it cannot draw: dashes of single pixels."""

    def fill(self, windows, holes):
        filled = super().fill(windows, holes)
        filled[:, ::2] += 0.2 * holes[:, ::2, :, None]
        filled[:, 1::2] -= 0.2 * holes[:, 1::2, :, None]
        return filled


def test_where_nothing_can_be_copied_only_what_can_be_trusted_is_shown(monkeypatch):
    monkeypatch.setattr(fill, "synthesize", lambda *given: None)
    pixels = np.full((120, 160, 3), 100, np.uint8)
    hole = Hole.hard(disc(120, 160, (60, 80), 30))
    middle = disc(120, 160, (60, 80), 20)  # away from the tones of the edge
    dashed, plain = (fill_hole(pixels, hole, Dashed(100, sharp)).pixels[middle].astype(int) for sharp in (100, 20))
    assert dashed.std() > 40, "taken as it is"
    assert plain.std() < dashed.std() / 3, "seen at a third of the size"


def test_a_thin_part_is_taken_as_it_is_beside_one_that_is_hidden_or_wide(monkeypatch):
    """Whose textures can be trusted is told by the part that is filled, not by all that is unknown in its window."""
    covered = []
    monkeypatch.setattr(fill, "synthesize", lambda *given: covered.append(given[2].sum()) or synthesize(*given))
    pixels = (stripes(200, 400) * 255).astype(np.uint8)
    scratch, hidden = np.zeros((2, 200, 400), bool)
    scratch[97:103, 80:220] = True
    hidden[:, 240:] = True
    fill_hole(pixels, Hole.hard(scratch), Blurred(100, 20), hidden=hidden)
    assert not covered
    wide = disc(200, 400, (100, 340), 25)
    fill_hole(pixels, Hole.hard(scratch | wide), Blurred(100, 20))
    assert covered == [wide.sum()]


def test_a_cell_without_a_pixel_of_its_part_is_no_error():
    """Parts are told apart on a grid in photos above 2048 px: a cell can touch one and hold none of its pixels."""
    pixels = np.full((2100, 4200, 3), 90, np.uint8)
    mask = np.zeros((2100, 4200), bool)
    rows = np.arange(4200) * 2000 // 4200
    mask[rows, np.arange(4200)] = True
    filled = fill_hole(pixels, Hole.hard(mask), Blurred(40, 20)).pixels
    assert (filled == 90).all()
