"""Augmentation of the inpainter's photos: geometry in one interpolation, then colour, all on 8-bit arrays with OpenCV.

The operations and their ranges are those of the LaMa Places recipe (perspective, affine, optical distortion, crop, flip, CLAHE,
brightness/contrast, hue/saturation/value). They are composed into one map from crop to photo: blurred only once, and only
the crop is computed.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from objremove.training.config import AugmentConfig

_Bytes = NDArray[np.uint8]
_Matrix = NDArray[np.float64]


def augment(photo: _Bytes, size: int, rng: np.random.Generator, config: AugmentConfig) -> _Bytes:
    """A random (size, size, 3) uint8 view of a (H, W, 3) uint8 RGB photo; what lies outside the photo is mirrored."""
    return recolour(_warped_crop(photo, size, rng, config), rng, config)


def recolour(photo: _Bytes, rng: np.random.Generator, config: AugmentConfig) -> _Bytes:
    """Random CLAHE, brightness/contrast and hue/saturation/value, each with its probability."""
    if config.clahe > 1 and rng.random() < config.probability:
        lab = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB)
        lab[..., 0] = cv2.createCLAHE(rng.uniform(1, config.clahe), (8, 8)).apply(lab[..., 0])
        photo = np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)
    if rng.random() < config.probability:
        factor = 1 + rng.uniform(-config.contrast, config.contrast)
        offset = 255 * rng.uniform(-config.brightness, config.brightness)
        table = np.clip(np.arange(256) * factor + offset, 0, 255).astype(np.uint8)
        photo = np.asarray(cv2.LUT(photo, table), np.uint8)
    if rng.random() < config.probability:
        photo = _shift_hsv(photo, rng, config)
    return photo


def _shift_hsv(photo: _Bytes, rng: np.random.Generator, config: AugmentConfig) -> _Bytes:
    hue, saturation, value = (rng.integers(-most, most + 1) for most in (config.hue, config.saturation, config.value))
    steps = np.arange(256)
    table = np.stack(
        ((steps + hue) % 180, np.clip(steps + saturation, 0, 255), np.clip(steps + value, 0, 255)), axis=-1
    ).astype(np.uint8)
    shifted = cv2.LUT(cv2.cvtColor(photo, cv2.COLOR_RGB2HSV), table[None])
    return np.asarray(cv2.cvtColor(shifted, cv2.COLOR_HSV2RGB), np.uint8)


def _warped_crop(photo: _Bytes, size: int, rng: np.random.Generator, config: AugmentConfig) -> _Bytes:
    height, width = photo.shape[:2]
    to_source = np.eye(3)  # from pixels of the augmented photo to those of the photo
    if config.perspective and rng.random() < config.probability:
        to_source = _perspective(width, height, rng, config.perspective) @ to_source
    if rng.random() < config.probability:
        to_source = to_source @ _affine(width, height, rng, config)
    # A photo smaller than the crop sits in the middle of it.
    left, top = (
        float(rng.integers(0, side - size + 1)) if side > size else (side - size) / 2 for side in (width, height)
    )
    crop = np.array([[1.0, 0, left], [0, 1, top], [0, 0, 1]])
    if rng.random() < 0.5:
        crop = crop @ np.array([[-1.0, 0, size - 1], [0, 1, 0], [0, 0, 1]])
    if config.distortion and rng.random() < config.probability:
        grid = _distorted_grid(crop, size, (width, height), rng.uniform(-config.distortion, config.distortion))
        maps = cv2.perspectiveTransform(grid.reshape(1, -1, 2), to_source).reshape(size, size, 2).astype(np.float32)
        x, y = np.ascontiguousarray(maps[..., 0]), np.ascontiguousarray(maps[..., 1])
        return np.asarray(cv2.remap(photo, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), np.uint8)
    matrix = to_source @ crop
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(photo, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(warped, np.uint8)


def _perspective(width: int, height: int, rng: np.random.Generator, most: float) -> _Matrix:
    """Corners move by normally distributed shares of the side, whose standard deviation is itself drawn from 0..`most`."""
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float32)
    shift = np.minimum(np.abs(rng.normal(0, rng.uniform(0, most), (4, 2))), 0.3) * (width, height)
    return np.asarray(cv2.getPerspectiveTransform(corners, (corners + inwards * shift).astype(np.float32)), np.float64)


def _affine(width: int, height: int, rng: np.random.Generator, config: AugmentConfig) -> _Matrix:
    """Scale of each axis and rotation around the centre, from the augmented photo back to the photo."""
    angle = math.radians(rng.uniform(-config.rotation, config.rotation))
    scales = 1 / np.array([rng.uniform(*config.scale), rng.uniform(*config.scale)])
    turn = np.diag(scales) @ np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = centre - turn @ centre
    return matrix


def _distorted_grid(crop: _Matrix, size: int, photo_size: tuple[int, int], radial: float) -> NDArray[np.float64]:
    """(size, size, 2) x, y of the crop's pixels after radial distortion by 1 + k r^2 + k r^4, r in units of the photo's sides."""
    x, y = np.meshgrid(np.arange(size, dtype=np.float64), np.arange(size, dtype=np.float64))
    points = np.stack((x, y), axis=-1) @ crop[:2, :2].T + crop[:2, 2]
    sides = np.asarray(photo_size, np.float64)
    offset = points / sides - 0.5
    squared = (offset**2).sum(-1, keepdims=True)
    distorted: NDArray[np.float64] = (offset * (1 + radial * (squared + squared**2)) + 0.5) * sides
    return distorted
