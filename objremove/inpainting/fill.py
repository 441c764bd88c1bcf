"""Fill a hole of any size in a photo of any size: cut windows, bring them to the inpainter's scale, paste only what was asked.

Everything outside the hole stays bit for bit what it was: pixels are written through the hole's mask and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import cv2
import numpy as np
from numpy.typing import NDArray

from objremove.errors import UsageError
from objremove.inpainting.base import Inpainter
from objremove.inpainting.detail import coverage, enlarge_with_detail, reduce
from objremove.inpainting.synthesis import synthesize
from objremove.inpainting.tones import level_step, match_tones
from objremove.inpainting.windows import Limits, Rect, Window, find_parts, plan_windows
from objremove.masks import Hole
from objremove.types import Mask, Pixels, Windows

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]

_AROUND = 64
"""Pixels around those that a window answers for that its last steps look at."""

_WORTHWHILE = 0.8
"""A fill that can be trusted at this share of its size, or more, is taken as it is."""


@dataclass(frozen=True, eq=False)
class Filled:
    """What `fill_hole` answers.

    Attributes:
        pixels: (H, W, 3) of the source's dtype; a new array.
        windows: the windows that were filled, in their order.
    """

    pixels: Pixels
    windows: tuple[Window, ...]


def fill_hole(
    pixels: Pixels, hole: Hole, inpainter: Inpainter, *, hidden: Mask | None = None, progress: Progress | None = None
) -> Filled:
    """Fill `hole` in `pixels`.

    Args:
        pixels: (H, W, 3) RGB, uint8 or uint16; not written to.
        hole: what to fill, of the same height and width.
        inpainter: what fills the windows.
        hidden: (H, W) bool, pixels that show nothing of what is behind the hole (transparent ones, other objects that stay): nothing
            is filled from them, where others are known.
        progress: called with (windows done, windows in all) after every batch; it may raise to cancel.

    Raises:
        UsageError: the hole covers the whole photo: there is nothing to fill it from.
    """
    filling = Filling(pixels, hole, inpainter, hidden=hidden)
    fill_windows(filling, inpainter, progress=progress)
    return Filled(filling.pixels, filling.windows)


def fill_windows(filling: Filling, inpainter: Inpainter, *, progress: Progress | None = None) -> None:
    """Fill all windows of one photo, wave after wave; arguments as of `fill_hole`."""
    done = 0
    for wave in filling.waves():
        for batch in batches(wave, inpainter.batch_size):
            views = [filling.view(window) for window in batch]
            for view, answer in zip(views, ask(views, inpainter), strict=True):
                view.paste(answer)
            done += len(batch)
            if progress:
                progress(done, len(filling.windows))


def batches(wave: Sequence[Window], batch_size: int) -> Iterator[list[Window]]:
    """The windows of one wave, equal ones together, at most `batch_size` of them."""
    for _, group in groupby(sorted(wave, key=lambda window: window.size), key=lambda window: window.size):
        equal = list(group)
        for first in range(0, len(equal), batch_size):
            yield equal[first : first + batch_size]


def ask(views: Sequence[View], inpainter: Inpainter) -> Windows:
    """The inpainter's answers, (B, h, w, 3) float32 in 0..1, to views of one size; they may be of different photos."""
    return inpainter.fill(np.stack([view.pixels for view in views]), np.stack([view.hole for view in views]))


class Filling:
    """A photo while its hole is being filled: the windows, and the picture as far as it is done.

    Windows of one wave read nothing that another of them writes: they may be viewed and pasted in any order, and by several
    threads at once. A wave begins when all windows of the one before it are pasted.

    Attributes:
        pixels: (H, W, 3) of the source's dtype; a new array.
        windows: what is to be filled, in order of their waves.
    """

    def __init__(self, pixels: Pixels, hole: Hole, inpainter: Inpainter, *, hidden: Mask | None = None) -> None:
        """Plan the windows; arguments and errors as of `fill_hole`. The inpainter only says what windows it likes."""
        if hole.mask.all():
            raise UsageError(
                "the hole covers the whole photo, so nothing is left to fill it from: remove less, or dilate less"
            )
        self._parts = find_parts(hole.mask)
        limits = Limits(inpainter.hole_width, inpainter.hole_area, inpainter.window_side, inpainter.modulo)
        planned = plan_windows(self._parts, hole.mask.shape, limits)
        self.windows = tuple(sorted(planned, key=lambda window: window.wave))
        self.pixels = pixels.copy()
        self._source = pixels
        self._hole = hole
        self._hidden = hidden
        self._sharp_width = inpainter.sharp_width
        self._todo = hole.mask.copy()
        self._top = float(np.iinfo(pixels.dtype).max)

    def waves(self) -> Iterator[list[Window]]:
        """The windows, one wave after another."""
        for _, wave in groupby(self.windows, key=lambda window: window.wave):
            yield list(wave)

    def view(self, window: Window) -> View:
        """The window as it looks now."""
        x0, y0, x1, y1 = window.rect
        crop = self.pixels[y0:y1, x0:x1].astype(np.float32) / np.float32(self._top)
        mine = self._hole.mask[y0:y1, x0:x1] & self._parts.mask(window.rect, window.parts)
        inside = np.zeros_like(mine)
        left, top, right, bottom = window.cell
        inside[top - y0 : bottom - y0, left - x0 : right - x0] = True
        mine &= inside
        unknown = self._todo[y0:y1, x0:x1] | mine
        if self._hidden is not None:
            seen = unknown | self._hidden[y0:y1, x0:x1]
            unknown = unknown if seen.all() else seen
        return View(self, window, crop, unknown, mine, *_at_scale(crop, unknown, window.size))

    def trusted(self, window: Window) -> float:
        """At what share of the window's size its fill can be trusted in all that it shows; 1 or more: as it is."""
        width = max(self._parts.widths[part - 1] for part in window.parts)
        return self._sharp_width / (width * window.scale)

    def _paste(self, window: Window, answer: Floats, mine: Mask) -> None:
        x0, y0, x1, y1 = window.rect
        here = self.pixels[y0:y1, x0:x1]
        todo = self._todo[y0:y1, x0:x1]
        soft = self._feather(window.rect)[:, :, None]
        blend = soft * (answer * np.float32(self._top)) + (1 - soft) * self._source[y0:y1, x0:x1]
        again = mine & ~todo
        if window.overlap and again.any():
            rise = np.where(again, _ramp(window, self._parts.boxes[window.parts[0] - 1]), np.float32(1))[:, :, None]
            blend = rise * blend + (1 - rise) * here
        here[mine] = np.rint(blend[mine]).clip(0, self._top).astype(here.dtype)
        todo[mine] = False

    def _feather(self, rect: tuple[int, int, int, int]) -> Floats:
        """(h, w) weight of the fill: 1 in the objects, rising from the hole's edge over the feather's width around them, or over the
        whole way to them where that is shorter."""
        x0, y0, x1, y1 = rect
        feather = self._hole.feather
        if not feather:
            return np.ones((y1 - y0, x1 - x0), np.float32)
        height, width = self._hole.mask.shape
        # A margin of the feather's width around the crop, so that the edge beyond it is felt.
        top, left = max(0, y0 - feather), max(0, x0 - feather)
        area = self._hole.mask[top : min(height, y1 + feather), left : min(width, x1 + feather)]
        core = self._hole.core[top : min(height, y1 + feather), left : min(width, x1 + feather)]
        inside, away = (
            cv2.distanceTransform(each.view(np.uint8), cv2.DIST_L2, 5)[y0 - top : y1 - top, x0 - left : x1 - left]
            for each in (area, ~core)
        )
        return np.asarray(np.minimum(1, inside / np.maximum(np.minimum(inside + away, feather + 1), 1e-6)), np.float32)


@dataclass(frozen=True, eq=False)
class View:
    """A window as the inpainter sees it, and what it takes to paste the answer.

    Attributes:
        filling: the photo that it belongs to.
        window: where.
        crop: (H, W, 3) float32 in 0..1, the photo there.
        unknown: (H, W) bool, what of the crop is not known (yet).
        mine: (H, W) bool, the pixels that this window answers for.
        pixels: (h, w, 3) float32 in 0..1, the crop at `window.size`.
        hole: (h, w) bool, `unknown` likewise.
    """

    filling: Filling
    window: Window
    crop: Floats
    unknown: Mask
    mine: Mask
    pixels: Floats
    hole: Mask

    def paste(self, answer: Floats) -> None:
        """Take the inpainter's (h, w, 3) answer: correct its tones, bring it to the photo's scale, and write what is `mine`."""
        # Parts are told apart on a grid: a cell may touch one without holding any of its pixels.
        if not self.mine.any():
            return
        filled = match_tones(self.pixels, self.hole, answer)
        textured = self._textured(np.where(self.hole[:, :, None], filled, self.pixels))
        rows, columns = around = self._around_mine()
        unknown = self.unknown[around]
        picture = np.where(unknown[:, :, None], textured[around], self.crop[around])
        x0, y0 = self.window.rect[:2]
        rect = (x0 + columns.start, y0 + rows.start, x0 + columns.stop, y0 + rows.stop)
        self.filling._paste(replace(self.window, rect=rect), level_step(picture, unknown), self.mine[around])

    def _around_mine(self) -> tuple[slice, slice]:
        """Rows and columns of the pixels that this window answers for, with enough around them for tones to be compared: a window
        is mostly context."""
        spans = []
        for axis in (1, 0):
            held = np.flatnonzero(self.mine.any(axis=axis))
            last = min(self.mine.shape[1 - axis], int(held[-1]) + 1 + _AROUND)
            spans.append(slice(max(0, int(held[0]) - _AROUND), last))
        return spans[0], spans[1]

    def _textured(self, composite: Floats) -> Floats:
        """The filled view at the crop's own scale, with the textures that the inpainter doesn't draw; only the hole counts."""
        hole, share = self.hole, self.filling.trusted(self.window)
        if share < _WORTHWHILE:
            height, width = (max(1, round(side * share)) for side in self.window.size)
            composite, hole = reduce(composite, (height, width)), coverage(self.unknown, (height, width)) > 0
            textured = synthesize(self.crop, self.unknown, self.mine, composite)
            if textured is not None:
                return textured
        if hole.shape == self.unknown.shape:
            return composite
        return enlarge_with_detail(self.crop, self.unknown, composite, hole)


def _ramp(window: Window, whole: Rect) -> Floats:
    """(h, w) weight of this window where a neighbour has been before: 0 at an inner edge of its cell, 1 an overlap further in.

    Edges that the cell shares with the box of the `whole` part have no neighbour.
    """
    x0, y0, x1, y1 = window.rect
    left, top, right, bottom = window.cell

    def rise(first: int, last: int, low: float, high: float) -> Floats:
        at = np.arange(first, last, dtype=np.float32) + 0.5
        edge = np.minimum(at - low, high - at).clip(0, window.overlap)
        return np.asarray(edge / np.float32(window.overlap), np.float32)

    down = rise(y0, y1, top if top > whole[1] else -np.inf, bottom if bottom < whole[3] else np.inf)
    across = rise(x0, x1, left if left > whole[0] else -np.inf, right if right < whole[2] else np.inf)
    return np.asarray(np.minimum(down[:, None], across), np.float32)


def _at_scale(crop: Floats, unknown: Mask, size: tuple[int, int]) -> tuple[Floats, Mask]:
    """The crop and its hole as the inpainter sees them; a reduced pixel is unknown where any of its pixels is."""
    if size == crop.shape[:2]:
        return crop, unknown
    if size[0] > crop.shape[0] or size[1] > crop.shape[1]:
        raise ValueError(f"a window of {crop.shape[:2]} is never enlarged to {size}")
    share = coverage(unknown, size)
    known = reduce(np.where(unknown[:, :, None], np.float32(0), crop), size)
    # Average known pixels only, so that no colour of the object bleeds into the reduced pixels at the hole's edge.
    view = known / np.maximum(1 - share, 1e-3)[:, :, None]
    return np.asarray(np.clip(view, 0, 1), np.float32), share > 0
