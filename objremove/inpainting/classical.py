"""Inpainting without weights: Telea, Navier-Stokes and shift-map, all of OpenCV.

Telea (2004) marches inwards along the hole's edge, Navier-Stokes (Bertalmio et al., 2001) continues isophotes: both are fast
and smooth, good for scratches. Shift-map (Pritch et al., 2009; here He and Sun's dominant offsets, 2012) copies whole regions
from elsewhere in the window: slow, and by far the best looking of the three on real holes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from objremove.types import AnyArray, WindowHoles, Windows

Bytes = NDArray[np.uint8]

MIN_SIDE = 128
"""Smaller windows are mirrored up to this for shift-map. OpenCV looks for 60 offsets that patches often repeat at; a small window has
fewer, and then OpenCV reads past their list: pixels at the hole's edge get whatever lies there, another thing in every thread."""


_LEAST_SIDE = 3  # of a single row OpenCV's diffusion reads what is not there, and answers something else each time


def diffused(picture: AnyArray, hole: Bytes, radius: int, method: int = cv2.INPAINT_TELEA) -> AnyArray:
    """OpenCV's inpainting of an (H, W) or (H, W, 3) picture, where the (H, W) `hole` is not 0; one channel may have 16 bits."""
    height, width = hole.shape
    pad = ((0, max(0, _LEAST_SIDE - height)), (0, max(0, _LEAST_SIDE - width)))
    wide = np.pad(picture, (*pad, *((0, 0),) * (picture.ndim - 2)), mode="edge")
    return np.asarray(cv2.inpaint(wide, np.pad(hole, pad, mode="edge"), radius, method))[:height, :width]


def _telea(window: Bytes, hole: Bytes, seed: int) -> Bytes:
    return np.asarray(diffused(window, hole, 5), np.uint8)


def _navier_stokes(window: Bytes, hole: Bytes, seed: int) -> Bytes:
    return np.asarray(diffused(window, hole, 5, cv2.INPAINT_NS), np.uint8)


def _shift_map(window: Bytes, hole: Bytes, seed: int) -> Bytes:
    """Search in Lab, where distances are what the eye sees. OpenCV's random numbers are seeded: one window, one answer."""
    if not hole.any():  # OpenCV crashes the process on an empty hole
        return window
    height, width = hole.shape
    down, across = max(0, MIN_SIDE - height), max(0, MIN_SIDE - width)
    top, left = down // 2, across // 2  # all around, where least of the hole is mirrored
    pad = ((top, down - top), (left, across - left))
    window = np.pad(window, (*pad, (0, 0)), mode="symmetric")
    known = np.pad(np.where(hole, 0, 255).astype(np.uint8), pad, mode="symmetric")
    lab = cv2.cvtColor(window, cv2.COLOR_RGB2Lab)
    filled = np.zeros_like(lab)
    cv2.setRNGSeed(seed)  # of this thread's own generator
    cv2.xphoto.inpaint(lab, known, filled, cv2.xphoto.INPAINT_SHIFTMAP)
    # Where no shift leads to a known pixel (a hole larger than what is known around it) OpenCV leaves zeros, no colour in Lab.
    left_over = ((known == 0) & ~filled.any(axis=2)).astype(np.uint8)
    picture = np.asarray(cv2.cvtColor(filled, cv2.COLOR_Lab2RGB), np.uint8)
    return _navier_stokes(picture, left_over, seed)[top : top + height, left : left + width]


@dataclass(frozen=True)
class ClassicalInpainter:
    """One of OpenCV's inpainters behind the `Inpainter` protocol; computes in 8 bits."""

    name: str
    algorithm: Callable[[Bytes, Bytes, int], Bytes]
    hole_width: int
    hole_area: int
    window_side: int
    modulo: int = 1
    batch_size: int = 1
    seed: int = 0

    @property
    def sharp_width(self) -> int:
        """What is copied or spread has the texture that it has."""
        return self.hole_width

    def fill(self, windows: Windows, holes: WindowHoles) -> Windows:
        """See `Inpainter.fill`."""
        pixels = np.rint(np.clip(windows, 0, 1) * 255).astype(np.uint8)
        masks = holes.astype(np.uint8) * 255
        filled = [self.algorithm(window, mask, self.seed) for window, mask in zip(pixels, masks, strict=True)]
        return np.stack(filled).astype(np.float32) / np.float32(255)


def load_classical(name: str, *, seed: int = 0) -> ClassicalInpainter:
    """The inpainter `telea`, `navier-stokes` or `shift-map`; KeyError for another name."""
    algorithm, hole_width, hole_area, window_side = _ALGORITHMS[name]
    return ClassicalInpainter(name, algorithm, hole_width, hole_area, window_side, seed=seed)


_ALGORITHMS: dict[str, tuple[Callable[[Bytes, Bytes, int], Bytes], int, int, int]] = {
    # Diffusion has no scale of its own: windows only bound its memory.
    "telea": (_telea, 100_000, 10**12, 4096),
    "navier-stokes": (_navier_stokes, 100_000, 10**12, 4096),
    # Its cost grows with the square of the hole's area: about 2 s for a hole of 110 px on one core.
    "shift-map": (_shift_map, 110, 8_000, 448),
}

CLASSICAL = tuple(_ALGORITHMS)
"""Names that `load_classical` knows."""
