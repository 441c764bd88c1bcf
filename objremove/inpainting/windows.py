"""Which crops of a photo to fill, at which scale, in which order: work follows the hole, not the photo.

Every connected part of the hole gets a window (crop) with enough context around it. A part that is wider than the network
was trained for is seen at reduced scale; a part that is longer than a window is cut into cells, filled one after another,
each seeing what the ones before it made. Geometry only: nothing here touches a pixel or a network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from objremove.types import AnyArray, Mask

GRID = 2048
"""Parts are told apart on a grid of at most this many cells a side: exact enough for planning, cheap for any photo."""

QUANTUM = 64
"""Window sides are rounded up to multiples of this at network scale, so that many windows are equal and share a batch."""

OVERLAP = 24
"""Pixels at network scale by which neighbouring cells of one part overlap, to be blended."""

LEAST_MARGIN = 48
"""Pixels at network scale of context that every window has around its cell, where the photo goes on."""

WHOLE_RATHER = 0.5
"""A part that is too long for one window is seen at down to this much of its scale if it fits into one then."""

MOST_PARTS = 1000
"""A hole of more parts than this (dust, noise) is planned as if parts near one another were one."""

Rect = tuple[int, int, int, int]
"""(x0, y0, x1, y1), x1 and y1 exclusive."""


@dataclass(frozen=True)
class Window:
    """One crop to hand to an inpainter.

    Attributes:
        rect: the crop in photo pixels.
        size: (height, width) at which the inpainter sees it.
        cell: the part of the photo whose hole pixels this window answers for; lies inside `rect`.
        overlap: width in photo pixels of the band along the cell's inner edges that a neighbour may have filled before.
        parts: ids of the hole's parts (see `Parts`) that it fills.
        wave: windows of one wave don't see one another's hole pixels and may run together.
    """

    rect: Rect
    size: tuple[int, int]
    cell: Rect
    overlap: int
    parts: tuple[int, ...]
    wave: int = 0

    @property
    def scale(self) -> float:
        """Inpainter pixels per photo pixel, 1 or less."""
        return min(1.0, self.size[1] / (self.rect[2] - self.rect[0]), self.size[0] / (self.rect[3] - self.rect[1]))


@dataclass(frozen=True, eq=False)
class Parts:
    """The connected parts of a hole.

    Attributes:
        labels: (rows, columns) int32 grid of part ids, 0 where there is no hole.
        step: photo pixels per grid cell.
        boxes: by id - 1: the part's box in photo pixels.
        widths: by id - 1: diameter in photo pixels of the largest disc that fits in the part.
    """

    labels: AnyArray
    step: int
    boxes: tuple[Rect, ...]
    widths: tuple[float, ...]

    def mask(self, rect: Rect, parts: Sequence[int]) -> Mask:
        """(h, w) bool of `rect`: the grid cells that belong to one of `parts`."""
        rows = np.arange(rect[1], rect[3]) // self.step
        columns = np.arange(rect[0], rect[2]) // self.step
        mine = np.isin(self.labels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], parts)
        spread: Mask = mine[rows - rows[0]][:, columns - columns[0]]
        return spread

    def leaves(self, rect: Rect) -> bool:
        """Whether the parts leave any grid cell of `rect` free."""
        step = self.step
        return not self.labels[rect[1] // step : -(-rect[3] // step), rect[0] // step : -(-rect[2] // step)].all()

    def within(self, rect: Rect, part: int) -> tuple[Rect, int] | None:
        """What of a part lies in `rect`: its box there and its area in photo pixels; None where nothing does."""
        step = self.step
        top, left = rect[1] // step, rect[0] // step
        mine = self.labels[top : -(-rect[3] // step), left : -(-rect[2] // step)] == part
        rows, columns = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
        if not rows.size:
            return None
        x0, x1 = (left + int(columns[0])) * step, (left + int(columns[-1]) + 1) * step
        y0, y1 = (top + int(rows[0])) * step, (top + int(rows[-1]) + 1) * step
        box = (max(x0, rect[0]), max(y0, rect[1]), min(x1, rect[2]), min(y1, rect[3]))
        return box, int(np.count_nonzero(mine)) * step * step


def find_parts(hole: Mask) -> Parts:
    """The connected parts (8-neighbourhood) of an (H, W) bool hole."""
    import cv2

    height, width = hole.shape
    step = max(1, math.ceil(max(height, width) / GRID))
    grid = _any_in_blocks(hole, step)
    labels, stats = _components(grid)
    distance: AnyArray = cv2.distanceTransform(np.pad(grid.view(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    deepest = np.zeros(len(stats), np.float32)
    np.maximum.at(deepest, np.asarray(labels, np.intp)[grid], np.asarray(distance, np.float32)[grid])
    boxes = []
    for x, y, w, h, _ in stats[1:].tolist():
        boxes.append((x * step, y * step, min(width, (x + w) * step), min(height, (y + h) * step)))
    widths = tuple(2.0 * step * float(depth) for depth in deepest[1:])
    return Parts(labels, step, tuple(boxes), widths)


def _components(grid: Mask) -> tuple[AnyArray, AnyArray]:
    """Labels and OpenCV's statistics of a grid's parts, at most MOST_PARTS: with more, near ones share a label."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(grid.view(np.uint8), connectivity=8)
    reach = 2
    while count > MOST_PARTS + 1:
        square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
        near = cv2.dilate(grid.view(np.uint8), square)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(near, connectivity=8)
        labels[~grid] = 0
        reach *= 2
    return labels, stats


def _any_in_blocks(mask: Mask, step: int) -> Mask:
    if step == 1:
        return np.ascontiguousarray(mask)
    starts = [np.arange(0, side, step) for side in mask.shape]
    rows: Mask = np.logical_or.reduceat(mask, starts[0], axis=0)
    blocks: Mask = np.logical_or.reduceat(rows, starts[1], axis=1)
    return blocks


@dataclass(frozen=True)
class Limits:
    """What an inpainter can take.

    Attributes:
        hole_width: widest hole in pixels that it fills well; wider parts are seen at reduced scale.
        hole_area: most hole pixels in one window; larger parts are seen at reduced scale too.
        window_side: longest side in pixels that it should be given.
        modulo: sides are multiples of this where the photo is larger than the window.
    """

    hole_width: int
    hole_area: int
    window_side: int
    modulo: int = 8

    @property
    def quantum(self) -> int:
        """What window sides are rounded up to: the first multiple of `modulo` from QUANTUM on."""
        return -(-QUANTUM // self.modulo) * self.modulo


def plan_windows(parts: Parts, size: tuple[int, int], limits: Limits) -> list[Window]:
    """The windows that together cover every part of a hole in a photo of `size` = (H, W) once, but for blended overlaps."""
    plans = [
        window for part in range(1, len(parts.boxes) + 1) for window in _windows_of_part(parts, part, size, limits)
    ]
    return _in_waves(_from_what_is_known(_merge(plans, size, limits), parts))


def _windows_of_part(parts: Parts, part: int, size: tuple[int, int], limits: Limits) -> list[Window]:
    box, width = parts.boxes[part - 1], parts.widths[part - 1]
    scale = min(1.0, limits.hole_width / width)
    whole = (limits.window_side - 2 * LEAST_MARGIN) / max(box[2] - box[0], box[3] - box[1])
    if WHOLE_RATHER * scale <= whole < scale:
        scale = whole
    while True:
        cells, margins, overlap = _divided(box, width, scale, limits.window_side)
        found = [inside for cell in cells if (inside := parts.within(cell, part))]
        # The area counts for each cell; at a smaller scale cells are larger and hold more, hence the loop.
        excess = max(area for _, area in found) * scale * scale / limits.hole_area
        if excess <= 1.02:
            return [_window(cell, margins, scale, size, overlap, (part,), limits.quantum) for cell, _ in found]
        scale /= math.sqrt(excess)


def _divided(box: Rect, width: float, scale: float, window_side: int) -> tuple[list[Rect], tuple[float, float], int]:
    """The cells that a part is filled in at this scale, the context (vertical, horizontal) around each, and their overlap.

    Two to three times the hole's side is the context that LaMa was trained with; a long part needs less along its length, and
    one that fits into one window with less is filled in one, since what it is cut into must be blended.
    """
    side, sides = window_side / scale, (box[3] - box[1], box[2] - box[0])
    margin = max(LEAST_MARGIN / scale, 0.75 * min(max(sides), 3 * width))
    if max(sides) + 2 * LEAST_MARGIN / scale <= side * 1.001:
        along = (side - max(sides)) / 2
        if along < margin:
            margin = max(along, 0.5 * width)
        return [box], (min(margin, (side - sides[0]) / 2), min(margin, (side - sides[1]) / 2)), 0
    margin = min(margin, side / 4)
    overlap = math.ceil(OVERLAP / scale)
    return _cells(box, math.floor(side - 2 * margin), overlap), (margin, margin), overlap


def _cells(box: Rect, side: int, overlap: int) -> list[Rect]:
    """Cut a box into equal cells of at most `side` pixels, neighbours sharing `overlap` pixels."""

    def spans(start: int, stop: int) -> list[tuple[int, int]]:
        count = max(1, math.ceil((stop - start - overlap) / max(1, side - overlap)))
        edges = np.linspace(start, stop - overlap, count + 1).round().astype(int).tolist()
        return [(first, last + overlap) for first, last in pairwise(edges)]

    return [(x0, y0, x1, y1) for y0, y1 in spans(box[1], box[3]) for x0, x1 in spans(box[0], box[2])]


def _window(
    cell: Rect,
    margins: tuple[float, float],
    scale: float,
    size: tuple[int, int],
    overlap: int,
    parts: tuple[int, ...],
    quantum: int,
) -> Window:
    """A window around a cell: grown by the margins, rounded up to the quantum, shifted inwards at the photo's edges."""
    spans = []
    sides = []
    for first, last, margin, limit in (
        (cell[1], cell[3], margins[0], size[0]),
        (cell[0], cell[2], margins[1], size[1]),
    ):
        seen = math.ceil((last - first + 2 * margin) * scale / quantum - 1e-6) * quantum
        side = min(limit, round(seen / scale))
        start = min(max(0, (first + last - side) // 2), limit - side)
        spans.append((start, start + side))
        sides.append(seen if side < limit else max(1, round(side * scale)))
    (y0, y1), (x0, x1) = spans
    return Window((x0, y0, x1, y1), (sides[0], sides[1]), cell, overlap, parts)


def _merge(windows: list[Window], size: tuple[int, int], limits: Limits) -> list[Window]:
    """Join windows whose crops overlap where one common window costs no more than the two."""
    merged: list[Window] = []
    for window in sorted(windows, key=lambda one: -one.size[0] * one.size[1]):
        rest = []
        for other in merged:
            joined = _join(window, other, size, limits)
            if joined is None:
                rest.append(other)
            else:
                window = joined
        merged = [*rest, window]
    return merged


def _join(one: Window, other: Window, size: tuple[int, int], limits: Limits) -> Window | None:
    if one.overlap or other.overlap or not overlaps(one.rect, other.rect):
        return None
    scale = min(one.scale, other.scale)
    if max(one.scale, other.scale) > 1.5 * scale:
        return None  # a small part would lose its detail in a large one's reduced view
    cell = _hull(one.cell, other.cell)
    margin = min(_margin(one), _margin(other))
    joined = _window(cell, (margin, margin), scale, size, 0, (*one.parts, *other.parts), limits.quantum)
    cost = joined.size[0] * joined.size[1]
    if max(joined.size) > limits.window_side or cost > one.size[0] * one.size[1] + other.size[0] * other.size[1]:
        return None
    return joined


def _margin(window: Window) -> float:
    """Context in photo pixels on the side of the cell that has most of it."""
    return max(abs(inner - outer) for inner, outer in zip(window.cell, window.rect, strict=True))


def _hull(one: Rect, other: Rect) -> Rect:
    return (min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3]))


def overlaps(one: Rect, other: Rect) -> bool:
    """Whether two rectangles share a pixel."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _from_what_is_known(windows: list[Window], parts: Parts) -> list[Window]:
    """Windows from top to bottom and left to right; one that sees nothing but hole comes after a neighbour that is filled."""
    waiting = sorted(windows, key=lambda one: (one.cell[1], one.cell[0]))
    ordered: list[Window] = []
    while waiting:
        sees = (
            one for one in waiting if parts.leaves(one.rect) or any(overlaps(one.rect, other.cell) for other in ordered)
        )
        following = next(sees, waiting[0])
        waiting.remove(following)
        ordered.append(following)
    return ordered


def _in_waves(windows: list[Window]) -> list[Window]:
    """Give each window the first wave in which nothing that it sees is still to be filled by one before it in the list."""
    placed: list[Window] = []
    for window in windows:
        before = (
            other.wave + 1 for other in placed if overlaps(window.rect, other.cell) or overlaps(window.cell, other.rect)
        )
        wave = max(before, default=0)
        placed.append(Window(window.rect, window.size, window.cell, window.overlap, window.parts, wave))
    return placed
