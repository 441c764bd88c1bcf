"""Texture for a fill of which only the structures can be trusted: whole patches of the photo, laid so that they follow it.

A small network says well enough what goes on behind an object (a wall, where the floor begins) and draws it blurred. Here the hole is
covered with overlapping patches, each a copy from elsewhere in the window, chosen together: by how they resemble the network's fill,
by how they continue what is known at the hole's edge, and by how they agree where they overlap. That is a Markov random field whose
labels are places in the photo, solved by belief propagation over a few labels a patch (Komodakis and Tziritas, "Image Completion
Using Efficient Belief Propagation via Priority Scheduling and Dynamic Pruning", 2007), here with a network's fill as guide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from objremove.inpainting.detail import enlarge, product, reduce
from objremove.inpainting.tones import spread
from objremove.types import Mask

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

SIDE = 16
"""Side of a patch in working pixels."""

STEP = 8
"""Distance of neighbouring patches."""

HOLE_WIDTH = 100
"""Wider holes are worked on at reduced scale: patches then hold larger pieces."""

MOST_PATCHES = 1200
"""So are holes that would take more patches than this: it bounds time and memory."""

PLACES = 12_000
"""Places that every patch may be copied from at first; then the best ones' neighbours are tried, too."""

LABELS = 32
"""Places kept for each patch."""

SHARED = 6
"""Places that each patch takes over from each neighbour, moved along with it: so pieces larger than a patch are copied."""

GUIDE, KNOWN, SEAM, NEAR = 0.2, 3.0, 1.0, 2e-4
"""Weights of a squared difference in one working pixel: from the guide, from what is known, between two patches; and of a
distance of 100 pixels to the place that is copied."""

ROUGH = 0.7
"""Weight of a difference in (the root of) roughness against one in colour. Smooth patches agree with each other everywhere, so that
without it a meadow would be filled with haze of its colour."""

COMMON = 24
"""Offsets that serve the patches at the hole's edge best are tried by all: so one piece can cover much of the hole."""

ROUNDS, SWEEPS = 2, 12
"""How often neighbours' places are shared, and sweeps of belief propagation each time."""

_CELL = 4  # side of the squares over whose means patch and guide are compared
_THIN = 2  # every second pixel of each side tells how two patches differ
_IMPOSSIBLE = np.float32(1e6)


def synthesize(window: Floats, unknown: Mask, hole: Mask, filled: Floats) -> Floats | None:
    """Cover a hole with patches of the photo that follow a fill.

    Args:
        window: (H, W, 3) float32 in 0..1; what it holds where it is unknown doesn't matter.
        unknown: (H, W) bool, what may not be copied.
        hole: (H, W) bool, what of it is to be covered; not empty.
        filled: (h, w, 3) float32 in 0..1, the window with all that is unknown filled, reduced until all of the fill can be trusted.

    Returns:
        (H, W, 3) float32 in 0..1, to be used where the window is unknown: patches in the hole, the fill enlarged elsewhere. None where
        no patch is wholly known.
    """
    depth = cv2.distanceTransform(np.pad(hole, 1).view(np.uint8), cv2.DIST_L2, 5)
    scale = min(1.0, HOLE_WIDTH / (2 * float(depth.max())))
    while True:
        scene = _scene(window, unknown, filled, scale)
        if scene is None:
            return None
        patches = _cover(scene, _shrunk(hole, scene.unknown.shape) > 0)
        excess = len(patches.corners) / MOST_PATCHES
        if excess <= 1:
            break
        scale *= 0.95 / math.sqrt(excess)
    places, costs = _first_places(scene, patches)
    places, costs = _with_common(scene, patches.corners, places, costs)
    for _ in range(ROUNDS):
        places, costs = _shared(scene, patches, places, costs)
        beliefs = _beliefs(costs, _seams(scene, patches, places), patches.edges)
        best = np.argsort(beliefs, axis=1)[:, :LABELS]
        places, costs = np.take_along_axis(places, best[:, :, None], 1), np.take_along_axis(costs, best, 1)
    return _composed(window, unknown, filled, scene, patches.corners, places[:, 0])


@dataclass(frozen=True, eq=False)
class _Scene:
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
class _Patches:
    """The patches that cover the hole.

    Attributes:
        corners: (N, 2) upper left corners (y, x).
        edges: (E, 2) pairs of neighbours, the upper or left one first.
        neighbours: (4, N) index of the neighbour above, below, left and right; -1 without one.
    """

    corners: Indices
    edges: Indices
    neighbours: Indices


def _scene(window: Floats, unknown: Mask, filled: Floats, scale: float) -> _Scene | None:
    """None where no patch is wholly known."""
    size = (round(unknown.shape[0] * scale), round(unknown.shape[1] * scale))
    if min(size) < SIDE:
        return None
    share = _shrunk(unknown, size)
    small = share > 0
    whole = ~_touching(small)
    if not whole.any():
        return None
    known = reduce(np.where(unknown[:, :, None], np.float32(0), window), size) / np.maximum(1 - share, 1e-3)[:, :, None]
    guide = enlarge(filled, size)
    picture = np.where(small[:, :, None], guide, known).astype(np.float32)
    cells = np.dstack([guide, ROUGH * _roughness(picture, guide, small)])
    cells = cv2.boxFilter(cells, -1, (_CELL, _CELL), anchor=(0, 0), borderType=cv2.BORDER_REFLECT)
    return _Scene(picture, np.asarray(cells, np.float32), small, whole)


def _shrunk(mask: Mask, size: tuple[int, int]) -> Floats:
    """(h, w) share of the mask in each pixel of `size`."""
    return np.asarray(cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA), np.float32)


def _touching(mask: Mask) -> Mask:
    """(h - SIDE + 1, w - SIDE + 1) bool: the patch with this corner holds a pixel of the mask."""
    sums = cv2.integral(mask.view(np.uint8))
    counts = sums[SIDE:, SIDE:] - sums[:-SIDE, SIDE:] - sums[SIDE:, :-SIDE] + sums[:-SIDE, :-SIDE]
    return np.asarray(counts > 0, np.bool_)


def _roughness(picture: Floats, guide: Floats, unknown: Mask) -> Floats:
    """(h, w, 3) how far the picture's colours are from the smooth guide's, nearby; where it is unknown, as around it."""
    detail = spread(np.abs(picture - guide), (~unknown).astype(np.float32))
    return np.sqrt(np.asarray(cv2.GaussianBlur(detail, (0, 0), _CELL), np.float32))


def _cover(scene: _Scene, hole: Mask) -> _Patches:
    height, width = hole.shape
    rows, columns = (np.unique(np.append(np.arange(0, side - SIDE, STEP), side - SIDE)) for side in (height, width))
    inside = _touching(hole)[rows][:, columns]
    numbers = np.full((len(rows) + 2, len(columns) + 2), -1, np.intp)  # with a frame of nobody
    numbers[1:-1, 1:-1][inside] = np.arange(np.count_nonzero(inside))
    index = np.argwhere(inside)
    at_row, at_column = index[:, 0] + 1, index[:, 1] + 1
    neighbours = np.stack([numbers[at_row + dy, at_column + dx] for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))])
    edges = [np.stack([np.flatnonzero(to >= 0), to[to >= 0]], axis=1) for to in (neighbours[1], neighbours[3])]
    return _Patches(np.stack([rows[index[:, 0]], columns[index[:, 1]]], axis=1), np.concatenate(edges), neighbours)


def _look(picture: NDArray[np.generic], corners: Indices, step: int, top_left: tuple[int, int] = (0, 0)) -> Floats:
    """What lies in patches, every `step`th pixel of each side from `top_left` of the patch on: (..., values) by (..., 2) corners."""
    rows, columns = (np.arange(start, SIDE, step) for start in top_left)
    y, x = corners[..., 0, None, None] + rows[:, None], corners[..., 1, None, None] + columns
    return np.asarray(picture[y, x].reshape(*corners.shape[:-1], -1), np.float32)


def _first_places(scene: _Scene, patches: _Patches) -> tuple[Indices, Floats]:
    """(N, LABELS, 2) places with the least costs of their own, and these costs, (N, LABELS), rising."""
    everywhere = np.argwhere(scene.whole)
    stride = math.ceil(math.sqrt(len(everywhere) / PLACES))
    candidates = everywhere[(everywhere % stride == 0).all(1)]
    if len(candidates) < LABELS:
        candidates = everywhere
    corners = patches.corners
    known = _known(scene, corners)
    ours, theirs = (_look(scene.cells, at, _CELL) for at in (corners, candidates))
    pixels, copies = (_look(scene.picture, at, _THIN) for at in (corners, candidates))
    count = min(LABELS, len(candidates))
    best = np.empty((len(corners), count), np.intp)
    for first in range(0, len(corners), 256):
        part = np.s_[first : first + 256]
        cost = GUIDE * _CELL**2 * _squared(ours[part], theirs)
        # |known * (pixels - copy)|^2 for all pairs at once
        mine = pixels[part] * known[part]
        edge = (mine**2).sum(1)[:, None] - 2 * product(mine, copies.T) + product(known[part], (copies**2).T)
        away = np.sqrt(_squared(corners[part].astype(np.float32), candidates.astype(np.float32)).clip(0))
        cost += KNOWN * _THIN**2 * edge + NEAR / 100 * SIDE**2 * away
        best[part] = np.argpartition(cost, count - 1, axis=1)[:, :count]
    places = candidates[best]
    costs = _costs(scene, corners, places)
    for _ in range(stride // 2):
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            tried = places + np.array((dy, dx))
            cost = _costs(scene, corners, tried)
            better = cost < costs
            places, costs = np.where(better[:, :, None], tried, places), np.where(better, cost, costs)
    order = np.argsort(costs, axis=1)
    return np.take_along_axis(places, order[:, :, None], 1), np.take_along_axis(costs, order, 1)


def _costs(scene: _Scene, corners: Indices, places: Indices) -> Floats:
    """(N, L) what it costs by itself to copy each of (N, L, 2) places to its patch."""
    possible = np.asarray(((places >= 0) & (places < scene.whole.shape)).all(-1))
    places = np.where(possible[:, :, None], places, 0)
    possible &= scene.whole[places[..., 0], places[..., 1]]
    here = corners[:, None]
    guide = ((_look(scene.cells, places, _CELL) - _look(scene.cells, here, _CELL)) ** 2).sum(-1)
    edge = (_look(scene.picture, places, _THIN) - _look(scene.picture, here, _THIN)) ** 2
    edge = (edge * _known(scene, here)).sum(-1)
    away = np.sqrt(((places - here) ** 2).sum(-1))
    cost = GUIDE * _CELL**2 * guide + KNOWN * _THIN**2 * edge + NEAR / 100 * SIDE**2 * away
    return np.where(possible, cost, _IMPOSSIBLE).astype(np.float32)


def _known(scene: _Scene, corners: Indices) -> Floats:
    """1 for each value of `_look(scene.picture, corners, _THIN)` that is known, else 0."""
    return np.repeat(1 - _look(scene.unknown, corners, _THIN), 3, axis=-1)


def _squared(ours: Floats, theirs: Floats) -> Floats:
    """(N, M) squared distances of (N, D) and (M, D) vectors."""
    return np.asarray((ours**2).sum(1)[:, None] + (theirs**2).sum(1) - 2 * product(ours, theirs.T), np.float32)


def _with_common(scene: _Scene, corners: Indices, places: Indices, costs: Floats) -> tuple[Indices, Floats]:
    """Add to every patch's places those at the offsets that patches with known pixels favour (after He and Sun, "Statistics of
    Patch Offsets for Image Completion", 2012)."""
    edge = _known(scene, corners).any(1)
    offsets = places[edge, :SHARED] - corners[edge, None]
    found, counts = np.unique(offsets.reshape(-1, 2), axis=0, return_counts=True)
    added = corners[:, None] + found[np.argsort(-counts, kind="stable")[:COMMON]]
    return _joined(scene, corners, places, costs, added)


def _joined(scene: _Scene, corners: Indices, places: Indices, costs: Floats, added: Indices) -> tuple[Indices, Floats]:
    prices = _costs(scene, corners, added)
    # What is impossible must still be a place that can be looked at.
    added = np.where((prices >= _IMPOSSIBLE)[:, :, None], places[:, :1], added)
    places, costs = np.concatenate([places, added], axis=1), np.concatenate([costs, prices], axis=1)
    costs[_repeated(places)] = _IMPOSSIBLE
    return places, costs


def _repeated(places: Indices) -> Mask:
    """(N, L) bool: an earlier one of the patch's (N, L, 2) places is the same."""
    keys = places[..., 0] * (places[..., 1].max() + 1) + places[..., 1]
    order = np.argsort(keys, axis=1, kind="stable")
    sorted_keys = np.take_along_axis(keys, order, 1)
    repeated = np.zeros(keys.shape, np.bool_)
    np.put_along_axis(repeated, order[:, 1:], sorted_keys[:, 1:] == sorted_keys[:, :-1], 1)
    return repeated


def _shared(scene: _Scene, patches: _Patches, places: Indices, costs: Floats) -> tuple[Indices, Floats]:
    """Add to every patch's places the first, best ones of its neighbours, moved along."""
    corners, best = patches.corners, places[:, :SHARED]
    # Who has no neighbour there is given a place outside the window.
    moved = [
        np.where((to >= 0)[:, None, None], best[to] + (corners - corners[to])[:, None], -1) for to in patches.neighbours
    ]
    return _joined(scene, corners, places, costs, np.concatenate(moved, axis=1))


def _seams(scene: _Scene, patches: _Patches, places: Indices) -> Floats:
    """(E, L, L) what it costs that two neighbours copy these places: their squared difference where they overlap."""
    first, second = patches.edges.T
    apart = patches.corners[second] - patches.corners[first]
    count = places.shape[1]
    seams = np.empty((len(first), count, count), np.float32)
    for down, right in np.unique(apart, axis=0):
        same = np.flatnonzero((apart == (down, right)).all(1))
        # The second patch's overlap begins at its corner and ends where the first one does.
        behind = _look(scene.picture, places[first[same]], _THIN, (down, right))
        before = _look(scene.picture, places[second[same]] - (down, right), _THIN, (down, right))
        squares = (behind**2).sum(-1)[:, :, None] + (before**2).sum(-1)[:, None, :]
        seams[same] = SEAM * _THIN**2 * np.maximum(squares - 2 * product(behind, before.transpose(0, 2, 1)), 0)
    return seams


def _beliefs(costs: Floats, seams: Floats, edges: Indices) -> Floats:
    """(N, L) least total cost of all patches given that this one takes this label: min-sum belief propagation, damped by half."""
    first, second = edges.T
    forth, back = np.zeros((2, len(edges), costs.shape[1]), np.float32)

    def gathered() -> Floats:
        total = costs.copy()
        np.add.at(total, second, forth)
        np.add.at(total, first, back)
        return total

    for _ in range(SWEEPS):
        total = gathered()
        there = ((total[first] - back)[:, :, None] + seams).min(1)
        here = ((total[second] - forth)[:, None, :] + seams).min(2)
        forth = (forth + there - there.min(1, keepdims=True)) / 2
        back = (back + here - here.min(1, keepdims=True)) / 2
    return gathered()


def _composed(
    window: Floats, unknown: Mask, filled: Floats, scene: _Scene, corners: Indices, places: Indices
) -> Floats:
    """The copies at full resolution; where they overlap, the one whose centre is nearer has the greater part."""
    height, width = unknown.shape
    scale = (height / scene.unknown.shape[0], width / scene.unknown.shape[1])
    rows, columns = (math.ceil(SIDE * each) for each in scale)
    bump = (np.outer(_hann(rows), _hann(columns)) ** 4 + 1e-6).astype(np.float32)[:, :, None]
    # Patches with one offset at working scale have one offset here, too: they are one piece.
    starts, shifts = (np.rint(points * scale).astype(int) for points in (corners, places - corners))
    sources = np.clip(starts + shifts, 0, (height - 1, width - 1))
    (top, left), (bottom, right) = starts.min(0).tolist(), (starts.max(0) + np.array((rows, columns))).tolist()
    picture = enlarge(filled, (height, width))
    covered = picture[top:bottom, left:right]
    total, weights = np.zeros_like(covered), np.zeros_like(covered[:, :, :1])
    for (y, x), (v, u) in zip(starts.tolist(), sources.tolist(), strict=True):
        down, across = min(rows, height - y, height - v), min(columns, width - x, width - u)
        source, target = (
            np.s_[v : v + down, u : u + across],
            np.s_[y - top : y - top + down, x - left : x - left + across],
        )
        weight = bump[:down, :across] * ~unknown[source][:, :, None]
        total[target] += window[source] * weight
        weights[target] += weight
    np.divide(total, weights, out=covered, where=weights > 0)
    return picture


def _hann(length: int) -> Floats:
    return np.asarray(np.sin(np.pi * (np.arange(length) + 0.5) / length), np.float32)
