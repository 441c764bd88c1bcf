"""The tones of a fill brought to those of its surroundings, so that its edge doesn't show.

Two ways, both a membrane over the hole (as Poisson image editing of Perez et al., 2003, makes it). A network paints known pixels
anew, so that its error in them is seen and carried into the hole. What is left after that, and all there is to see of fills that were
copied from elsewhere, is the step across the hole's edge.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from objremove.types import Mask

Floats = NDArray[np.float32]

TONE_RING = 4
"""Width in pixels of the known ring by whose tones a fill is corrected."""

TONE_LIMIT = 0.12
"""Largest correction; a greater difference is another structure, not another tone."""

STEP_RING = 2
"""Width in pixels of the rings on either side of the hole's edge whose tones are compared."""

STEP_LIMIT = 0.5
"""Largest step that is levelled. Real edges that the fill doesn't go on with lie below it, too: a short gradient there is easier on
the eye than a cut."""


def match_tones(view: Floats, hole: Mask, answer: Floats) -> Floats:
    """Correct a fill's tones by how it differs from the known pixels just around the hole.

    LaMa is trained without a pixel loss inside the hole and may drift in colour (lama issues #78, #280). The difference in a ring
    of known pixels is carried smoothly into the hole and added.

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
    carried = spread(np.where(ring[:, :, None], error, np.float32(0)), ring.astype(np.float32))
    return np.asarray(np.clip(answer + cv2.GaussianBlur(carried, (0, 0), 3), 0, 1), np.float32)


def level_step(picture: Floats, hole: Mask) -> Floats:
    """Take away the step in tone across a hole's edge.

    Tones are compared a pixel or two from the edge on either side; the difference is carried from the edge over the hole and added.

    Args:
        picture: (h, w, 3) float32 in 0..1 with its hole filled.
        hole: (h, w) bool.

    Returns:
        (h, w, 3) float32 in 0..1; known pixels are as they were.
    """
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    if not rows.size:
        return picture
    margin = 2 * STEP_RING
    area = np.s_[
        max(0, rows[0] - margin) : rows[-1] + margin + 1, max(0, columns[0] - margin) : columns[-1] + margin + 1
    ]
    levelled = picture.copy()
    levelled[area] = _level(picture[area], np.ascontiguousarray(hole[area]))
    return levelled


def _level(picture: Floats, hole: Mask) -> Floats:
    depth = cv2.distanceTransform(hole.view(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~hole).view(np.uint8), cv2.DIST_L2, 5)
    inner, outer = (depth > 0) & (depth <= STEP_RING), (outside > 0) & (outside <= STEP_RING)
    step = _mean_near(picture, outer) - _mean_near(picture, inner)
    edge = hole & (depth <= 1.5) & (np.abs(step).max(axis=2) <= STEP_LIMIT)
    carried = spread(np.where(edge[:, :, None], step, np.float32(0)), edge.astype(np.float32))
    levelled = np.clip(picture + cv2.GaussianBlur(carried, (0, 0), 1), 0, 1)
    return np.asarray(np.where(hole[:, :, None], levelled, picture), np.float32)


def _mean_near(picture: Floats, among: Mask) -> Floats:
    """(h, w, 3): at every pixel the mean of those near it that are `among`."""
    weight = among.astype(np.float32)
    near = cv2.GaussianBlur(picture * weight[:, :, None], (0, 0), 1)
    return np.asarray(near / np.maximum(cv2.GaussianBlur(weight, (0, 0), 1), 1e-4)[:, :, None], np.float32)


def spread(values: Floats, weight: Floats) -> Floats:
    """Carry values from where weight is 1 over the whole plane by a pull-push pyramid (Gortler et al., 1996)."""
    height, width = weight.shape
    if min(height, width) <= 2:
        mean = (values * weight[:, :, None]).sum((0, 1)) / max(float(weight.sum()), 1e-6)
        return np.asarray(np.where(weight[:, :, None] > 0, values, mean), np.float32)
    half = ((width + 1) // 2, (height + 1) // 2)
    below = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    sums = cv2.resize(values * weight[:, :, None], half, interpolation=cv2.INTER_AREA)
    means = np.asarray(sums / np.maximum(below, 1e-6)[:, :, None], np.float32)
    coarse = spread(means, np.asarray(np.minimum(1, 4 * below), np.float32))
    up = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(weight[:, :, None] * values + (1 - weight[:, :, None]) * up, np.float32)
