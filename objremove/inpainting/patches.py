"""A window as patches see it: reduced to working scale, with what is known and what a guide says, and the grid that covers a hole."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from objremove.inpainting.detail import coverage, enlarge, reduce
from objremove.inpainting.tones import spread
from objremove.types import Mask

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

SIDE = 16
"""Side of a patch in working pixels."""

STEP = 8
"""Distance of neighbouring patches."""

THIN = 2
"""Every second pixel of each side tells how two patches differ."""

CELL = 4
"""Side of the squares over whose means patch and guide are compared."""

ROUGH = 0.7
"""Weight of a difference in (the root of) roughness against one in colour. Smooth patches agree with each other everywhere, so that
without it a meadow would be filled with haze of its colour."""


@dataclass(frozen=True, eq=False)
class Scene:
    """The window at working scale.

    Attributes:
        picture: (h, w, 3), with the guide where it is unknown.
        cells: (h, w, 6) means over the square right and below of every pixel: colours, all of the resolution of the guide, and
            roughness.
        unknown: (h, w) bool.
        whole: (h - SIDE + 1, w - SIDE + 1) bool: the patch with this corner is known.
    """

    picture: Floats
    cells: Floats
    unknown: Mask
    whole: Mask


@dataclass(frozen=True, eq=False)
class Patches:
    """The patches that cover the hole.

    Attributes:
        corners: (N, 2) upper left corners (y, x).
        edges: (E, 2) pairs of neighbours, the upper or left one first.
        neighbours: (4, N) index of the neighbour above, below, left and right; -1 without one.
    """

    corners: Indices
    edges: Indices
    neighbours: Indices


def make_scene(window: Floats, unknown: Mask, filled: Floats, scale: float) -> Scene | None:
    """The window at working scale.

    Args:
        window: (H, W, 3) float32 in 0..1; what it holds where it is unknown doesn't matter.
        unknown: (H, W) bool.
        filled: (h, w, 3) float32 in 0..1, the guide: the window with all that is unknown filled.
        scale: of the result, at most 1.

    Returns:
        None where no patch is wholly known.
    """
    size = (round(unknown.shape[0] * scale), round(unknown.shape[1] * scale))
    if min(size) < SIDE:
        return None
    share = coverage(unknown, size)
    small = share > 0
    whole = ~_touching(small)
    if not whole.any():
        return None
    known = reduce(np.where(unknown[:, :, None], np.float32(0), window), size) / np.maximum(1 - share, 1e-3)[:, :, None]
    guide = enlarge(filled, size)
    picture = np.where(small[:, :, None], guide, known).astype(np.float32)
    cells = np.dstack([guide, ROUGH * _roughness(picture, guide, small)])
    cells = cv2.boxFilter(cells, -1, (CELL, CELL), anchor=(0, 0), borderType=cv2.BORDER_REFLECT)
    return Scene(picture, np.asarray(cells, np.float32), small, whole)


def _touching(mask: Mask) -> Mask:
    """(h - SIDE + 1, w - SIDE + 1) bool: the patch with this corner holds a pixel of the mask."""
    sums = cv2.integral(mask.view(np.uint8))
    counts = sums[SIDE:, SIDE:] - sums[:-SIDE, SIDE:] - sums[SIDE:, :-SIDE] + sums[:-SIDE, :-SIDE]
    return np.asarray(counts > 0, np.bool_)


def _roughness(picture: Floats, guide: Floats, unknown: Mask) -> Floats:
    """(h, w, 3) how far the picture's colours are from the smooth guide's, nearby; where it is unknown, as around it."""
    detail = spread(np.abs(picture - guide), (~unknown).astype(np.float32))
    return np.sqrt(np.asarray(cv2.GaussianBlur(detail, (0, 0), CELL), np.float32))


def cover(scene: Scene, hole: Mask) -> Patches:
    """The patches that it takes to cover the (H, W) hole of the window."""
    height, width = scene.unknown.shape
    rows, columns = (np.unique(np.append(np.arange(0, side - SIDE, STEP), side - SIDE)) for side in (height, width))
    inside = _touching(coverage(hole, (height, width)) > 0)[rows][:, columns]
    numbers = np.full((len(rows) + 2, len(columns) + 2), -1, np.intp)  # with a frame of nobody
    numbers[1:-1, 1:-1][inside] = np.arange(np.count_nonzero(inside))
    index = np.argwhere(inside)
    at_row, at_column = index[:, 0] + 1, index[:, 1] + 1
    neighbours = np.stack([numbers[at_row + dy, at_column + dx] for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))])
    edges = [np.stack([np.flatnonzero(to >= 0), to[to >= 0]], axis=1) for to in (neighbours[1], neighbours[3])]
    return Patches(np.stack([rows[index[:, 0]], columns[index[:, 1]]], axis=1), np.concatenate(edges), neighbours)


def look(picture: NDArray[np.generic], corners: Indices, step: int, top_left: tuple[int, int] = (0, 0)) -> Floats:
    """What lies in patches, every `step`th pixel of each side from `top_left` of the patch on: (..., values) by (..., 2) corners."""
    rows, columns = (np.arange(start, SIDE, step) for start in top_left)
    y, x = corners[..., 0, None, None] + rows[:, None], corners[..., 1, None, None] + columns
    return np.asarray(picture[y, x].reshape(*corners.shape[:-1], -1), np.float32)
