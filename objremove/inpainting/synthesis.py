"""Texture for a fill of which only the structures can be trusted: whole patches of the photo, laid so that they follow it.

A small network says well enough what goes on behind an object (a wall, where the floor begins) and draws it blurred. Here the hole is
covered with overlapping patches, each a copy from elsewhere in the window, brought to the light of its new place (`montage`). They are
chosen together: by how they resemble the network's fill, by how they continue what is known at the hole's edge, and by how they agree
where they overlap. That is a Markov random field whose labels are places in the photo, solved by belief propagation over a few labels
a patch (Komodakis and Tziritas, "Image Completion Using Efficient Belief Propagation via Priority Scheduling and Dynamic Pruning",
2007), here with a network's fill as guide.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from objremove.inpainting.detail import product
from objremove.inpainting.montage import compose
from objremove.inpainting.patches import (
    CELL,
    SIDE,
    STEP,
    THIN,
    Floats,
    Indices,
    Patches,
    Scene,
    cover,
    look,
    make_scene,
)
from objremove.types import Mask

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

COMMON = 24
"""Offsets that serve the patches at the hole's edge best are tried by all: so one piece can cover much of the hole."""

AGAIN, ALIKE = 3.0, 3
"""Weight of a patch's variance where its neighbour copies the same place, give or take less than `ALIKE` pixels: copies of one small
piece side by side are a mesh that nobody overlooks, however faint it is."""

ROUNDS, SWEEPS = 2, 12
"""How often neighbours' places are shared, and sweeps of belief propagation each time."""

SCARCE, COPIES, WALLPAPER = 0.2, 6, 0.06
"""With fewer places to copy from for each pixel to be covered, some are bound to come again. What is copied more often than `COPIES`
is repetition; where the mean contrast (standard deviation) of what is repeated, over all patches, is above `WALLPAPER`, it is seen
as a pattern, and the fill as it is looks better. With places enough, repetition is the photo's own: a fence, a wall of bricks."""

_IMPOSSIBLE = np.float32(1e6)


def synthesize(window: Floats, unknown: Mask, hole: Mask, filled: Floats) -> Floats | None:
    """Cover a hole with patches of the photo that follow a fill.

    Args:
        window: (H, W, 3) float32 in 0..1; what it holds where it is unknown doesn't matter.
        unknown: (H, W) bool, what may not be copied.
        hole: (H, W) bool, what of it is to be covered; not empty.
        filled: (h, w, 3) float32 in 0..1, the window with all that is unknown filled, reduced until all of the fill can be trusted.

    Returns:
        (H, W, 3) float32 in 0..1, to be used where the window is unknown: patches in the hole, their tones levelled, the fill enlarged
        elsewhere. None where no patch is wholly known, or so few that their repetition would be seen.
    """
    depth = cv2.distanceTransform(np.pad(hole, 1).view(np.uint8), cv2.DIST_L2, 5)
    scale = min(1.0, HOLE_WIDTH / (2 * float(depth.max())))
    while True:
        scene = make_scene(window, unknown, filled, scale)
        if scene is None:
            return None
        patches = cover(scene, hole)
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
    chosen = places[:, 0]
    scarce = np.count_nonzero(scene.whole) < SCARCE * STEP**2 * len(chosen)
    if scarce and _repetition(scene, chosen) > WALLPAPER:
        return None
    return compose(window, unknown, filled, scene, patches, chosen)


def _repetition(scene: Scene, places: Indices) -> float:
    """Mean contrast in what patches copy from (N, 2) places that more than `COPIES` of them copy, give or take half a step."""
    copies = np.zeros(scene.whole.shape, np.float32)
    np.add.at(copies, tuple(places.T), 1)
    near = cv2.boxFilter(copies, -1, (STEP, STEP), normalize=False, borderType=cv2.BORDER_CONSTANT)
    contrast = np.sqrt(_variance(scene)[tuple(places.T)])
    return float((contrast * (near[tuple(places.T)] > COPIES)).mean())


def _variance(scene: Scene) -> Floats:
    """(h, w) mean variance of the three colours in the patch with this corner."""
    mean, square = (
        cv2.boxFilter(each, -1, (SIDE, SIDE), anchor=(0, 0), borderType=cv2.BORDER_REFLECT)
        for each in (scene.picture, scene.picture**2)
    )
    return np.asarray((square - mean**2).mean(2).clip(0), np.float32)


def _first_places(scene: Scene, patches: Patches) -> tuple[Indices, Floats]:
    """(N, LABELS, 2) places with the least costs of their own, and these costs, (N, LABELS), rising."""
    everywhere = np.argwhere(scene.whole)
    stride = math.ceil(math.sqrt(len(everywhere) / PLACES))
    candidates = everywhere[(everywhere % stride == 0).all(1)]
    if len(candidates) < LABELS:
        candidates = everywhere
    corners = patches.corners
    known = _known(scene, corners)
    ours, theirs = (look(scene.cells, at, CELL) for at in (corners, candidates))
    pixels, copies = (look(scene.picture, at, THIN) for at in (corners, candidates))
    count = min(LABELS, len(candidates))
    best = np.empty((len(corners), count), np.intp)
    for first in range(0, len(corners), 256):
        part = np.s_[first : first + 256]
        cost = GUIDE * CELL**2 * _squared(ours[part], theirs)
        # |known * (pixels - copy)|^2 for all pairs at once
        mine = pixels[part] * known[part]
        edge = (mine**2).sum(1)[:, None] - 2 * product(mine, copies.T) + product(known[part], (copies**2).T)
        away = np.sqrt(_squared(corners[part].astype(np.float32), candidates.astype(np.float32)).clip(0))
        cost += KNOWN * THIN**2 * edge + NEAR / 100 * SIDE**2 * away
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


def _costs(scene: Scene, corners: Indices, places: Indices) -> Floats:
    """(N, L) what it costs by itself to copy each of (N, L, 2) places to its patch."""
    possible = np.asarray(((places >= 0) & (places < scene.whole.shape)).all(-1))
    places = np.where(possible[:, :, None], places, 0)
    possible &= scene.whole[places[..., 0], places[..., 1]]
    here = corners[:, None]
    guide = ((look(scene.cells, places, CELL) - look(scene.cells, here, CELL)) ** 2).sum(-1)
    edge = (look(scene.picture, places, THIN) - look(scene.picture, here, THIN)) ** 2
    edge = (edge * _known(scene, here)).sum(-1)
    away = np.sqrt(((places - here) ** 2).sum(-1))
    cost = GUIDE * CELL**2 * guide + KNOWN * THIN**2 * edge + NEAR / 100 * SIDE**2 * away
    return np.where(possible, cost, _IMPOSSIBLE).astype(np.float32)


def _known(scene: Scene, corners: Indices) -> Floats:
    """1 for each value of `look(scene.picture, corners, THIN)` that is known, else 0."""
    return np.repeat(1 - look(scene.unknown, corners, THIN), 3, axis=-1)


def _squared(ours: Floats, theirs: Floats) -> Floats:
    """(N, M) squared distances of (N, D) and (M, D) vectors."""
    return np.asarray((ours**2).sum(1)[:, None] + (theirs**2).sum(1) - 2 * product(ours, theirs.T), np.float32)


def _with_common(scene: Scene, corners: Indices, places: Indices, costs: Floats) -> tuple[Indices, Floats]:
    """Add to every patch's places those at the offsets that patches with known pixels favour (after He and Sun, "Statistics of
    Patch Offsets for Image Completion", 2012)."""
    edge = _known(scene, corners).any(1)
    offsets = places[edge, :SHARED] - corners[edge, None]
    if not offsets.size:  # nothing is known at the hole's edge, as of a figure on transparency
        return places, costs
    found, counts = np.unique(offsets.reshape(-1, 2), axis=0, return_counts=True)
    added = corners[:, None] + found[np.argsort(-counts, kind="stable")[:COMMON]]
    return _joined(scene, corners, places, costs, added)


def _joined(scene: Scene, corners: Indices, places: Indices, costs: Floats, added: Indices) -> tuple[Indices, Floats]:
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


def _shared(scene: Scene, patches: Patches, places: Indices, costs: Floats) -> tuple[Indices, Floats]:
    """Add to every patch's places the first, best ones of its neighbours, moved along."""
    corners, best = patches.corners, places[:, :SHARED]
    # Who has no neighbour there is given a place outside the window.
    moved = [
        np.where((to >= 0)[:, None, None], best[to] + (corners - corners[to])[:, None], -1) for to in patches.neighbours
    ]
    return _joined(scene, corners, places, costs, np.concatenate(moved, axis=1))


def _seams(scene: Scene, patches: Patches, places: Indices) -> Floats:
    """(E, L, L) what it costs that two neighbours copy these places: their squared difference where they overlap, and repetition."""
    first, second = patches.edges.T
    repeating = AGAIN * SIDE * STEP * _variance(scene)[places[..., 0], places[..., 1]]
    apart = patches.corners[second] - patches.corners[first]
    count = places.shape[1]
    seams = np.empty((len(first), count, count), np.float32)
    for down, right in np.unique(apart, axis=0):
        same = np.flatnonzero((apart == (down, right)).all(1))
        # The second patch's overlap begins at its corner and ends where the first one does.
        behind = look(scene.picture, places[first[same]], THIN, (down, right))
        before = look(scene.picture, places[second[same]] - (down, right), THIN, (down, right))
        squares = (behind**2).sum(-1)[:, :, None] + (before**2).sum(-1)[:, None, :]
        seams[same] = SEAM * THIN**2 * np.maximum(squares - 2 * product(behind, before.transpose(0, 2, 1)), 0)
        seams[same] += _near(places[first[same]], places[second[same]]) * repeating[first[same]][:, :, None]
    return seams


def _near(ours: Indices, theirs: Indices) -> Mask:
    """(N, L, L) bool: which of (N, L, 2) places of each are less than `ALIKE` pixels apart in both directions."""
    (y, x), (v, u) = (np.moveaxis(each.astype(np.int16), -1, 0) for each in (ours, theirs))
    near = np.abs(y[:, :, None] - v[:, None]) < ALIKE
    near &= np.abs(x[:, :, None] - u[:, None]) < ALIKE
    return np.asarray(near, np.bool_)


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
