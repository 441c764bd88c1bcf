"""Fill a hole of any size in a photo of any size: cut windows, bring them to the inpainter's scale, paste only what was asked.

Everything outside the hole stays bit for bit what it was: pixels are written through the hole's mask and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np
from numpy.typing import NDArray

from objremove.errors import UsageError
from objremove.inpainting.base import Inpainter
from objremove.inpainting.detail import enlarge_with_detail, reduce
from objremove.inpainting.windows import Limits, Parts, Rect, Window, find_parts, plan_windows
from objremove.masks import Hole
from objremove.types import Mask, Pixels

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]

TONE_RING = 4
"""Width in pixels of the known ring by whose tones a fill is corrected."""

TONE_LIMIT = 0.12
"""Largest correction; a greater difference is another structure, not another tone."""


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
        hidden: (H, W) bool, pixels whose colour nobody sees (transparent ones): nothing is filled from them, where others are known.
        progress: called with (windows done, windows in all) after every batch; it may raise to cancel.

    Raises:
        UsageError: the hole covers the whole photo: there is nothing to fill it from.
    """
    if hole.mask.all():
        raise UsageError(
            "the hole covers the whole photo, so nothing is left to fill it from: remove less, or --dilate less"
        )
    parts = find_parts(hole.mask)
    limits = Limits(inpainter.hole_width, inpainter.hole_area, inpainter.window_side, inpainter.modulo)
    windows = plan_windows(parts, hole.mask.shape, limits)
    canvas = _Canvas(pixels, hole, parts, hidden)
    done = 0
    for batch in _batches(windows, inpainter.batch_size):
        canvas.fill(batch, inpainter)
        done += len(batch)
        if progress:
            progress(done, len(windows))
    return Filled(canvas.pixels, tuple(windows))


def _batches(windows: Sequence[Window], batch_size: int) -> Iterator[list[Window]]:
    """Windows of one wave and one size, at most `batch_size` together."""
    ordered = sorted(windows, key=lambda window: (window.wave, window.size))
    for _, group in groupby(ordered, key=lambda window: (window.wave, window.size)):
        equal = list(group)
        for first in range(0, len(equal), batch_size):
            yield equal[first : first + batch_size]


class _Canvas:
    """The photo as far as it is filled: its pixels, and which of them are still to do."""

    def __init__(self, pixels: Pixels, hole: Hole, parts: Parts, hidden: Mask | None) -> None:
        self.source = pixels
        self.pixels = pixels.copy()
        self.hole = hole
        self.parts = parts
        self.hidden = hidden
        self.todo = hole.mask.copy()
        self.top = float(np.iinfo(pixels.dtype).max)

    def fill(self, batch: Sequence[Window], inpainter: Inpainter) -> None:
        """Fill equal windows that don't see one another's holes."""
        crops = [self._crop(window) for window in batch]
        seen = [_at_scale(crop, unknown, window.size) for (crop, unknown, _), window in zip(crops, batch, strict=True)]
        answers = inpainter.fill(np.stack([view for view, _ in seen]), np.stack([mask for _, mask in seen]))
        for window, (crop, unknown, mine), (view, mask), answer in zip(batch, crops, seen, answers, strict=True):
            matched = match_tones(view, mask, answer)
            if window.size != crop.shape[:2]:
                composite = np.where(mask[:, :, None], matched, view)
                matched = enlarge_with_detail(crop, unknown, composite, mask)
            self._paste(window, matched, mine)

    def _crop(self, window: Window) -> tuple[Floats, Mask, Mask]:
        """The window's pixels (h, w, 3) in 0..1, what in it is unknown, and what of that this window answers for."""
        x0, y0, x1, y1 = window.rect
        crop = self.pixels[y0:y1, x0:x1].astype(np.float32) / np.float32(self.top)
        mine = self.hole.mask[y0:y1, x0:x1] & self.parts.mask(window.rect, window.parts)
        inside = np.zeros_like(mine)
        left, top, right, bottom = window.cell
        inside[top - y0 : bottom - y0, left - x0 : right - x0] = True
        mine &= inside
        unknown = self.todo[y0:y1, x0:x1] | mine
        if self.hidden is not None:
            seen = unknown | self.hidden[y0:y1, x0:x1]
            unknown = unknown if seen.all() else seen
        return crop, unknown, mine

    def _paste(self, window: Window, answer: Floats, mine: Mask) -> None:
        x0, y0, x1, y1 = window.rect
        here = self.pixels[y0:y1, x0:x1]
        todo = self.todo[y0:y1, x0:x1]
        weight = self._feather(window.rect)
        again = mine & ~todo
        before = np.where(again[:, :, None], here, self.source[y0:y1, x0:x1])
        if window.overlap:
            weight = np.where(again, _ramp(window, self.parts.boxes[window.parts[0] - 1]), weight)
        soft = weight[:, :, None]
        blend = soft * (answer * np.float32(self.top)) + (1 - soft) * before
        here[mine] = np.rint(blend[mine]).clip(0, self.top).astype(here.dtype)
        todo[mine] = False

    def _feather(self, rect: tuple[int, int, int, int]) -> Floats:
        """(h, w) weight of the fill: 1 in the objects, rising from the hole's edge over the feather's width around them."""
        x0, y0, x1, y1 = rect
        feather = self.hole.feather
        if not feather:
            return np.ones((y1 - y0, x1 - x0), np.float32)
        height, width = self.hole.mask.shape
        # A margin of the feather's width around the crop, so that the edge beyond it is felt.
        top, left = max(0, y0 - feather), max(0, x0 - feather)
        area = self.hole.mask[top : min(height, y1 + feather), left : min(width, x1 + feather)]
        depth = cv2.distanceTransform(area.view(np.uint8), cv2.DIST_L2, 5)[y0 - top : y1 - top, x0 - left : x1 - left]
        weight = np.minimum(1, depth / (feather + 1), dtype=np.float32)
        return np.asarray(np.where(self.hole.core[y0:y1, x0:x1], np.float32(1), weight), np.float32)


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
    share = cv2.resize(unknown.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    known = reduce(np.where(unknown[:, :, None], np.float32(0), crop), size)
    # Average known pixels only, so that no colour of the object bleeds into the reduced pixels at the hole's edge.
    view = known / np.maximum(1 - share, 1e-3)[:, :, None]
    return np.asarray(np.clip(view, 0, 1), np.float32), share > 0


def match_tones(view: Floats, hole: Mask, answer: Floats) -> Floats:
    """Correct a fill's tones by how it differs from the known pixels just around the hole.

    LaMa is trained without a pixel loss inside the hole and may drift in colour (lama issues #78, #280); copied regions may come
    from a darker corner. The difference in a ring of known pixels is carried smoothly into the hole and added.

    Args:
        view: (h, w, 3) float32 in 0..1, the window as the inpainter saw it.
        hole: (h, w) bool.
        answer: (h, w, 3) float32 in 0..1, the inpainter's own picture, known pixels included.
    """
    distance = cv2.distanceTransform((~hole).view(np.uint8), cv2.DIST_L2, 5)
    error = view - answer
    ring = (distance > 0) & (distance <= TONE_RING) & (np.abs(error).max(axis=2) <= TONE_LIMIT)
    if not ring.any():
        return answer
    spread = _spread(np.where(ring[:, :, None], error, np.float32(0)), ring.astype(np.float32))
    return np.asarray(np.clip(answer + cv2.GaussianBlur(spread, (0, 0), 3), 0, 1), np.float32)


def _spread(values: Floats, weight: Floats) -> Floats:
    """Carry values from where weight is 1 over the whole plane by a pull-push pyramid (Gortler et al., 1996)."""
    height, width = weight.shape
    if min(height, width) <= 2:
        mean = (values * weight[:, :, None]).sum((0, 1)) / max(float(weight.sum()), 1e-6)
        return np.asarray(np.where(weight[:, :, None] > 0, values, mean), np.float32)
    half = ((width + 1) // 2, (height + 1) // 2)
    below = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    sums = cv2.resize(values * weight[:, :, None], half, interpolation=cv2.INTER_AREA)
    means = np.asarray(sums / np.maximum(below, 1e-6)[:, :, None], np.float32)
    coarse = _spread(means, np.asarray(np.minimum(1, 4 * below), np.float32))
    up = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(weight[:, :, None] * values + (1 - weight[:, :, None]) * up, np.float32)
