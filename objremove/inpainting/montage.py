"""Chosen patches laid together at the photo's own resolution, their tones levelled first.

Patches copied from places in another light meet in steps of tone. Each is given the change of colour that makes it agree with its
neighbours, with what is known around the hole and with the guide in the least squared difference: as the gains of the photos of
a panorama are found (Brown and Lowe, "Automatic Panoramic Image Stitching using Invariant Features", 2007), with offsets for gains.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from objremove.inpainting.detail import enlarge
from objremove.inpainting.patches import SIDE, THIN, Floats, Indices, Patches, Scene, look
from objremove.types import Mask

JOIN_TRUST, KNOWN_TRUST, GUIDE_TRUST, STAY = 4.0, 4.0, 1.0, 0.1
"""Weights of a squared difference in tone: between two patches, from what is known, from the guide; and of a change as such."""

ALIKE = 0.03
"""Patches whose difference varies by more than this have half a say or less: what differs there is not the light alone."""

LIGHT_LIMIT = 0.15
"""Largest change. A greater difference has no say: what differs there is another thing, not another light."""


def compose(window: Floats, unknown: Mask, filled: Floats, scene: Scene, patches: Patches, places: Indices) -> Floats:
    """Copy a place of the window to every patch, and change its tones to those around.

    Args:
        window: (H, W, 3) float32 in 0..1.
        unknown: (H, W) bool, what may not be copied.
        filled: (h, w, 3) float32 in 0..1, shown where no patch lies.
        scene: the window at working scale.
        patches: where to.
        places: (N, 2) upper left corners at working scale, where from.

    Returns:
        (H, W, 3) float32 in 0..1. Where patches overlap, the one whose centre is nearer has the greater part.
    """
    corners, tones = patches.corners, level(scene, patches, places)
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
    for (y, x), (v, u), tone in zip(starts.tolist(), sources.tolist(), tones, strict=True):
        down, across = min(rows, height - y, height - v), min(columns, width - x, width - u)
        source, target = (
            np.s_[v : v + down, u : u + across],
            np.s_[y - top : y - top + down, x - left : x - left + across],
        )
        weight = bump[:down, :across] * ~unknown[source][:, :, None]
        total[target] += (window[source] + tone) * weight
        weights[target] += weight
    np.divide(total, weights, out=covered, where=weights > 0)
    np.clip(covered, 0, 1, out=covered)
    return picture


def level(scene: Scene, patches: Patches, places: Indices) -> Floats:
    """(N, 3) change of colour of what is copied from (N, 2) `places`, at most `LIGHT_LIMIT`."""
    corners, (first, second), count = patches.corners, patches.edges.T, len(places)
    system = np.diag(np.full(count, STAY))
    wanted = np.zeros((count, 3))

    gap = _colours(scene, corners) - _colours(scene, places)
    hidden = look(scene.unknown, corners, THIN)
    for weight, among in ((KNOWN_TRUST, 1 - hidden), (GUIDE_TRUST, hidden)):
        mean, trust = _difference(gap, among)
        trust *= weight * among.mean(1)
        system[np.diag_indices(count)] += trust
        wanted += trust[:, None] * mean

    apart = corners[second] - corners[first]
    for down, right in np.unique(apart, axis=0):
        one, other = patches.edges[(apart == (down, right)).all(1)].T
        # The second patch's overlap begins at its corner and ends where the first one does.
        behind = _colours(scene, places[one], (down, right))
        before = _colours(scene, places[other] - (down, right), (down, right))
        mean, trust = _difference(before - behind, np.ones(behind.shape[:2], np.float32))
        trust *= JOIN_TRUST
        for patch, partner, sign in ((one, other, 1), (other, one, -1)):
            np.add.at(system, (patch, patch), trust)
            np.add.at(system, (patch, partner), -trust)
            np.add.at(wanted, patch, sign * trust[:, None] * mean)
    # On torch's threads, as `product`.
    tones = torch.linalg.solve(torch.from_numpy(system), torch.from_numpy(wanted))
    return np.asarray(tones.clip(-LIGHT_LIMIT, LIGHT_LIMIT).float().numpy())


def _colours(scene: Scene, corners: Indices, top_left: tuple[int, int] = (0, 0)) -> Floats:
    """(N, pixels, 3) of the patches with these corners."""
    return look(scene.picture, corners, THIN, top_left).reshape(len(corners), -1, 3)


def _difference(gap: Floats, among: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (N, 3) of (N, pixels, 3) differences over the pixels that count, (N, pixels), and its trust (N,) in 0..1."""
    share = (among / np.maximum(among.sum(1, keepdims=True), 1))[:, :, None].astype(np.float64)
    mean = (gap * share).sum(1)
    deviation = np.sqrt((((gap - mean[:, None]) ** 2).mean(2) * share[:, :, 0]).sum(1))
    alike = abs(mean).max(1) <= LIGHT_LIMIT
    return mean, alike * ALIKE / (ALIKE + deviation)


def _hann(length: int) -> Floats:
    return np.asarray(np.sin(np.pi * (np.arange(length) + 0.5) / length), np.float32)
