"""Full-resolution detail for a hole that was filled at reduced scale.

A wide hole is filled on a reduced window, where the network sees it at the scale it was trained for; enlarging that fill leaves
a smooth patch in a sharp photo. Here the missing detail is borrowed from the photo itself: each small block of the fill looks
for the known block of the reduced window that resembles it most, and takes over what that block has at full resolution beyond
its own enlargement (the residual of a Laplacian pyramid; the idea of contextual residual aggregation, Yi et al., CVPR 2020,
with an explicit search in place of attention). Blocks then try their
neighbours' offsets, so that a texture stays in one piece.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from objremove.types import Mask, Windows

Floats = NDArray[np.float32]

PATCH = 7
"""Side in reduced pixels of the patch that two blocks are compared by."""

STEP = 4
"""Blocks are 2 * STEP reduced pixels wide and STEP apart."""

FEATURES = 24
"""Principal components of a patch that are compared."""

MAX_CANDIDATES = 10_000
"""Known patches to choose from at most; a regular subset of them otherwise."""


def enlarge(reduced: Floats, size: tuple[int, int]) -> Floats:
    """(h, w, 3) brought to `size` = (H, W) by bicubic interpolation, kept within 0..1."""
    big = cv2.resize(reduced, size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(big, 0, 1), np.float32)


def reduce(window: Floats, size: tuple[int, int]) -> Floats:
    """(H, W, 3) brought down to `size` = (h, w) by area averaging."""
    return np.asarray(cv2.resize(window, size[::-1], interpolation=cv2.INTER_AREA), np.float32)


def coverage(mask: Mask, size: tuple[int, int]) -> Floats:
    """(h, w) share of the (H, W) mask in each pixel of `size`."""
    return np.asarray(cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA), np.float32)


def enlarge_with_detail(window: Floats, hole: Mask, filled: Floats, reduced_hole: Mask) -> Windows:
    """Bring a fill to the window's own resolution and give it the detail of its surroundings.

    Args:
        window: (H, W, 3) float32 in 0..1, full resolution; what it holds in the hole doesn't matter.
        hole: (H, W) bool.
        filled: (h, w, 3) float32 in 0..1, the reduced window with its hole filled.
        reduced_hole: (h, w) bool, every reduced pixel that a hole pixel falls into.

    Returns:
        (H, W, 3) float32 in 0..1.
    """
    height, width = hole.shape
    smooth = enlarge(filled, (height, width))
    targets = _targets(reduced_hole)
    candidates = _candidates(reduced_hole)
    if not len(targets) or not len(candidates):
        return smooth
    sources = candidates[_nearest(filled, targets, candidates)]
    sources = _coherent(filled, targets, sources, reduced_hole)
    # Half precision: a residual is small, and this is one of the few arrays as large as the window.
    residual = (window - smooth).astype(np.float16)
    residual[hole] = 0
    area = _bounds(hole)
    scale = (height / filled.shape[0], width / filled.shape[1])
    smooth[area] += _assembled(residual, area, targets, sources, scale)
    return np.clip(smooth, 0, 1, out=smooth)


def product(left: Floats, right: Floats) -> Floats:
    """Product of (stacks of) float32 matrices on torch's threads: those of NumPy's BLAS cannot be bounded, and thrash on a busy machine."""
    answer: Floats = torch.matmul(*(torch.from_numpy(np.ascontiguousarray(each)) for each in (left, right))).numpy()
    return answer


def _bounds(hole: Mask) -> tuple[slice, slice]:
    """Rows and columns that hold the hole."""
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _targets(hole: Mask) -> NDArray[np.intp]:
    """(N, 2) centres (y, x) of the blocks that cover the hole."""
    rows, columns = (np.arange(STEP // 2, side + STEP, STEP).clip(max=side - 1) for side in hole.shape)
    near = cv2.dilate(hole.view(np.uint8), np.ones((2 * STEP + 1, 2 * STEP + 1), np.uint8)).astype(np.bool_)
    inside = near[rows][:, columns]
    index = np.argwhere(inside)
    return np.stack([rows[index[:, 0]], columns[index[:, 1]]], axis=1)


def _candidates(hole: Mask) -> NDArray[np.intp]:
    """(M, 2) centres (y, x) of known patches, at most MAX_CANDIDATES."""
    centres = np.argwhere(_known(hole))
    return centres[:: max(1, math.ceil(len(centres) / MAX_CANDIDATES))]


def _known(hole: Mask) -> Mask:
    """(h, w) bool: the patch and the block around this pixel lie wholly in known pixels of the window."""
    reach = max(PATCH // 2, STEP) + 1
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    known = cv2.erode((~hole).view(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(known, np.bool_)


def _nearest(image: Floats, targets: NDArray[np.intp], candidates: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each target the index of the candidate whose patch resembles it most; ties of texture go to the nearer one."""
    if len(candidates) == 1:
        return np.zeros(len(targets), np.intp)
    theirs, ours = _patches(image, candidates), _patches(image, targets)
    mean = theirs.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov((theirs - mean).T))
    basis = vectors[:, ::-1][:, :FEATURES].astype(np.float32)
    theirs, ours = (theirs - mean) @ basis, (ours - mean) @ basis
    # Half a grey level for each 100 reduced pixels of distance: enough to prefer the wall at hand to one across the room.
    pull = np.float32(PATCH * (3**0.5) * 0.5 / 255 / 100)
    theirs, ours = np.hstack([theirs, pull * candidates]), np.hstack([ours, pull * targets])
    # The nearest one has the greatest 2 a.b - b.b: with b.b as one more coordinate that is a single product of matrices.
    theirs = np.hstack([2 * theirs, -(theirs**2).sum(axis=1, keepdims=True)]).astype(np.float32)
    ours = np.hstack([ours, np.ones((len(ours), 1))]).astype(np.float32)
    chunks = [product(ours[first : first + 256], theirs.T).argmax(axis=1) for first in range(0, len(ours), 256)]
    return np.concatenate(chunks)


def _patches(image: Floats, centres: NDArray[np.intp]) -> Floats:
    """(N, PATCH * PATCH * 3) patches around centres; mirrored at the edges."""
    half = PATCH // 2
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), mode="symmetric")
    views = np.lib.stride_tricks.sliding_window_view(padded, (PATCH, PATCH), axis=(0, 1))
    return np.asarray(views[centres[:, 0], centres[:, 1]].reshape(len(centres), -1), np.float32)


def _coherent(image: Floats, targets: NDArray[np.intp], sources: NDArray[np.intp], hole: Mask) -> NDArray[np.intp]:
    """Let each block try its neighbours' offsets (as PatchMatch propagates): long strokes of texture stay in one piece."""
    height, width = hole.shape
    known = _known(hole)
    place = {(int(y), int(x)): i for i, (y, x) in enumerate(targets)}
    ours = _patches(image, targets)
    cost = ((ours - _patches(image, sources)) ** 2).sum(1)
    sources = sources.copy()
    for dy, dx in ((0, STEP), (0, -STEP), (STEP, 0), (-STEP, 0)) * 2:
        neighbour = np.array([place.get((int(y) + dy, int(x) + dx), i) for i, (y, x) in enumerate(targets)])
        tried = sources[neighbour] - (targets[neighbour] - targets)
        inside = (tried >= 0).all(1) & (tried[:, 0] < height) & (tried[:, 1] < width)
        tried = np.where(inside[:, None], tried, sources)
        inside &= known[tried[:, 0], tried[:, 1]]
        price = ((ours - _patches(image, tried)) ** 2).sum(1)
        # An offset shared with a neighbour may cost a little more: a seam saved is worth it.
        better = inside & (price < 1.1 * cost)
        sources[better] = tried[better]
        cost = np.asarray(np.where(better, np.minimum(price, cost), cost), np.float32)
    return sources


def _assembled(
    residual: NDArray[np.float16],
    area: tuple[slice, slice],
    targets: NDArray[np.intp],
    sources: NDArray[np.intp],
    scale: tuple[float, float],
) -> Floats:
    """The residual blocks of the sources laid over the targets: what falls into `area`, at full resolution.

    Blocks overlap under a Hann window. After `_coherent` neighbours mostly share their offset, so that the weighted mean puts
    pieces of one texture together and does not blur it.
    """
    half = (max(1, round(STEP * scale[0])), max(1, round(STEP * scale[1])))
    weight = np.outer(_hann(2 * half[0]), _hann(2 * half[1]))[:, :, None].astype(np.float32)
    rows, columns = area
    total = np.zeros((rows.stop - rows.start, columns.stop - columns.start, 3), np.float32)
    weights = np.full((*total.shape[:2], 1), 1e-3, np.float32)
    height, width, _ = residual.shape
    places = (np.rint((points + 0.5) * scale).astype(int).tolist() for points in (targets, sources))
    for (y, x), (v, u) in zip(*places, strict=True):
        top, bottom = max(-half[0], rows.start - y, -v), min(half[0], rows.stop - y, height - v)
        left, right = max(-half[1], columns.start - x, -u), min(half[1], columns.stop - x, width - u)
        if top >= bottom or left >= right:
            continue
        part = weight[half[0] + top : half[0] + bottom, half[1] + left : half[1] + right]
        at = np.s_[y + top - rows.start : y + bottom - rows.start, x + left - columns.start : x + right - columns.start]
        total[at] += residual[v + top : v + bottom, u + left : u + right] * part
        weights[at] += part
    return np.divide(total, weights, out=total)


def _hann(length: int) -> Floats:
    return np.asarray(np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2, np.float32)
