"""Scores of one fill: against the photo as it was, and of the fill in itself along the hole's edge."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from objremove.training.files import Bytes
from objremove.types import Mask

Floats = NDArray[np.float32]

EDGE_BAND = 3
"""Width in pixels of the ring around the hole whose steps the seam is compared with."""

_ROUNDING_ERROR = 1 / 12 / 255**2
"""Mean squared error of rounding to 8 bits: what is better counts as this, 58.9 dB, so that no mean is infinite."""


def as_tensor(picture: Bytes) -> Tensor:
    """(H, W, 3) uint8 to (1, 3, H, W) float32 in 0..1."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


def fidelity(filled: Bytes, original: Bytes, hole: Mask) -> dict[str, float]:
    """PSNR in dB, SSIM and L1 (of values in 0..1), whole and in the hole, of (H, W, 3) uint8 pictures.

    SSIM has the usual Gaussian window of sigma 1.5 (11 pixels wide); in the hole its map is averaged over the hole.
    """
    first, second = as_tensor(filled), as_tensor(original)
    whole, ssim_map = structural_similarity_index_measure(first, second, data_range=1.0, return_full_image=True)
    difference = (first - second)[0].numpy()
    return {
        "psnr": _psnr(difference),
        "psnr_hole": _psnr(difference[:, hole]),
        "ssim": float(whole),
        "ssim_hole": float(ssim_map[0].numpy()[:, hole].mean()),
        "l1": float(np.abs(difference).mean()),
        "l1_hole": float(np.abs(difference[:, hole]).mean()),
    }


def edge(filled: Bytes, hole: Mask) -> dict[str, float]:
    """How the fill sits in its surroundings, without regard to what was there; 1 is as the photo around.

    A step is the absolute difference of two neighbouring pixels, averaged over the colours. `seam` is the mean step across the
    hole's edge divided by the mean step just outside it (both pixels within `EDGE_BAND` of the edge): above 1 the edge shows.
    `texture` is the mean step within the hole divided by the same: below 1 the fill is blurred, above it is noisy. One grey level is
    added to each mean, so that a smooth wall divides nothing by nothing. Empty where the hole has no edge.
    """
    hole8 = hole.view(np.uint8)
    ring = np.ones((2 * EDGE_BAND + 1,) * 2, np.uint8)
    outside = np.asarray(cv2.dilate(hole8, ring), np.bool_) & ~hole
    picture = filled.astype(np.float32) / 255
    across: list[Floats] = []
    around: list[Floats] = []
    within: list[Floats] = []
    for axis in (0, 1):
        steps = np.abs(np.diff(picture, axis=axis)).mean(axis=2)
        across.append(steps[_pair(hole, axis, np.not_equal)])
        around.append(steps[_pair(outside, axis, np.logical_and)])
        within.append(steps[_pair(hole, axis, np.logical_and)])
    means = [np.concatenate(steps) for steps in (across, around, within)]
    if any(not steps.size for steps in means):
        return {}
    level = 1 / 255
    seam, base, texture = (float(steps.mean()) + level for steps in means)
    return {"seam": seam / base, "texture": texture / base}


def _pair(mask: Mask, axis: int, relation: np.ufunc) -> Mask:
    """Where two neighbours along an axis are so related."""
    length = mask.shape[axis]
    first, second = (mask.take(range(start, length - 1 + start), axis) for start in (0, 1))
    return np.asarray(relation(first, second), np.bool_)


def _psnr(difference: Floats) -> float:
    return -10 * math.log10(max(float(np.square(difference, dtype=np.float64).mean()), _ROUNDING_ERROR))
