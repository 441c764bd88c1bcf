"""From instances to the hole: how far to grow each object, which gaps to close, how soft the paste may be.

A mask that is too tight leaves an anti-aliased rim, a contact shadow or JPEG ringing as known pixels, and every inpainter
carries that rim inwards as a ghost. So the hole is the object grown by a margin that follows its size and the segmenter's
own uncertainty, a little further downwards, where shadows lie.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from PIL import Image

from objremove.errors import UsageError
from objremove.instances import Instance, union
from objremove.types import AnyArray, Mask

OWN_MASK = "mask"
"""Label of an instance that came as a mask file: it says exactly what to remove and is not grown unless asked."""

_SHOWN_OTHERWISE = ("P", "PA", "CMYK", "YCbCr", "HSV", "LAB")
"""Modes of PIL whose numbers are not what one sees."""


@dataclass(frozen=True)
class Dilation:
    """How far to grow an object: `auto`, a number of pixels, or a percentage of the object's size.

    The size of an object is the square root of its box's area.
    """

    pixels: float | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, text: str | float | Dilation) -> Dilation:
        """Read `auto`, `12`, `12px` or `3%`; raises UsageError for anything else."""
        if isinstance(text, Dilation):
            return text
        word = str(text).strip().lower()
        if word == "auto":
            return cls()
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(px|%)?", word)
        if not match:
            raise UsageError(f"dilate {text!r}: take auto, a number of pixels such as 12, or a share such as 3%")
        value = float(match[1])
        if value > 100_000:
            raise UsageError(f"dilate {word[:20]}: that is more than any photo is wide")
        return cls(percent=value) if match[2] == "%" else cls(pixels=value)

    def radius(self, one: Instance) -> int:
        """Pixels to grow `one` by."""
        x0, y0, x1, y1 = one.box
        extent = math.sqrt((x1 - x0) * (y1 - y0))
        if self.pixels is not None:
            return round(self.pixels)
        if self.percent is not None:
            return math.ceil(self.percent / 100 * extent)
        if one.label == OWN_MASK:
            return 0
        # 2.5 % of the object and 3 px of anti-aliasing and ringing, as much again as the outline may be off, and never
        # more than a 1/25 of the photo: a large object's rim is no wider than a middling one's.
        rim = min(0.025 * extent, 0.012 * max(one.size))
        return math.ceil(min(3 + rim + one.boundary_error, max(3.0, 0.04 * max(one.size))))


@dataclass(frozen=True, eq=False)
class Hole:
    """What to fill.

    Attributes:
        mask: (H, W) bool, every pixel that may change.
        core: (H, W) bool, the objects themselves: within it nothing of the source may shine through.
        feather: width in pixels of the soft edge inside `mask` and outside `core`; 0 pastes hard.
    """

    mask: Mask
    core: Mask
    feather: int = 0

    @property
    def area(self) -> int:
        """Pixels to fill."""
        return int(np.count_nonzero(self.mask))

    @classmethod
    def hard(cls, mask: Mask) -> Hole:
        """The hole of a mask that is to be replaced as it is, to its very edge."""
        return cls(mask, mask)


def build_hole(
    instances: Iterable[Instance],
    size: tuple[int, int],
    *,
    spare: Iterable[Instance] = (),
    dilate: Dilation | str | float = "auto",
    feather: int | None = None,
) -> Hole:
    """Grow every instance, close small gaps in it, and unite them.

    Args:
        instances: what goes, all of a photo of `size` = (H, W).
        size: (H, W) of the photo.
        spare: what stays: an object that goes may not grow into it.
        dilate: see `Dilation`.
        feather: pixels; None takes a third of the largest growth, at most 8; where an object's grown ring is thinner, its soft edge
            is. Where one's own mask has no ring so wide, the soft edge lies inside the mask, and takes a third of what is thin.
    """
    dilation = Dilation.parse(dilate)
    if feather is not None and feather < 0:
        raise UsageError(f"--feather {feather}: take 0 or more pixels")
    mask, core, own = (np.zeros(size, np.bool_) for _ in range(3))
    radii = []
    for one in instances:
        radius = dilation.radius(one)
        radii.append(radius)
        (_shrunk(one, (feather or 0) - radius) if one.label == OWN_MASK else one).paint(core)
        one.paint(mask)
        one.paint(own)
        grown, (x0, y0) = grow(one, radius)
        mask[y0 : y0 + grown.shape[0], x0 : x0 + grown.shape[1]] |= grown
    mask &= ~union(spare, size) | own
    soft = min(8, max(radii, default=0) // 3) if feather is None else feather
    return Hole(mask, core, soft)


def _shrunk(one: Instance, distance: int) -> Instance:
    """The instance without its outermost `distance` pixels; parts that are too thin for that lose a third of their depth."""
    import cv2

    if distance <= 0:
        return one
    depth = cv2.distanceTransform(np.pad(one.crop.view(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    left: Mask = depth > distance
    # What no circle of that radius reaches, give or take the corners of what it does reach.
    thin = one.crop & ~_within(left, 1.5 * distance) if left.any() else one.crop
    count, parts = cv2.connectedComponents(thin.view(np.uint8), connectivity=8)
    deepest = np.zeros(count, np.float32)
    np.maximum.at(deepest, np.asarray(parts, np.intp), depth)
    return replace(one, crop=left | (thin & np.asarray(depth > deepest[parts] / 3, np.bool_)))


def grow(one: Instance, radius: int) -> tuple[Mask, tuple[int, int]]:
    """The instance's mask grown by `radius` pixels, by twice that downwards, its gaps closed.

    Returns the grown mask, cropped, and the (x, y) of the crop's top-left corner in the photo.
    """
    height, width = one.size
    x0, y0, x1, y1 = one.box
    left, top = max(0, x0 - radius), max(0, y0 - radius)
    right, bottom = min(width, x1 + radius), min(height, y1 + 2 * radius)
    crop = np.zeros((bottom - top, right - left), np.bool_)
    crop[y0 - top : y1 - top, x0 - left : x1 - left] = one.crop
    if radius:
        crop = _within(_smear_down(crop, radius), radius)
    if one.label != OWN_MASK:
        crop = close_gaps(crop, largest=0.1 * one.area)
    return crop, (left, top)


def _smear_down(mask: Mask, distance: int) -> Mask:
    """Each column's object pixels drawn `distance` pixels further down: what an object casts mostly lies below it."""
    rows = np.arange(mask.shape[0], dtype=np.int32)[:, None]
    last = np.maximum.accumulate(np.where(mask, rows, np.int32(-distance - 1)), axis=0)
    return np.asarray(rows - last <= distance, np.bool_)


def _within(mask: Mask, distance: float) -> Mask:
    """All pixels no further than `distance` from the mask; by distance transform, so the cost doesn't grow with it."""
    import cv2

    outside = np.pad((~mask).view(np.uint8), 1, constant_values=1)
    near: Mask = cv2.distanceTransform(outside, cv2.DIST_L2, 5)[1:-1, 1:-1] <= distance
    return near


def close_gaps(mask: Mask, largest: float) -> Mask:
    """The mask with every enclosed gap of at most `largest` pixels filled."""
    import cv2

    background = np.pad((~mask).view(np.uint8), 1, constant_values=1)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(background, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] <= largest
    small[0] = False
    small[labels[0, 0]] = False
    if count <= 2 or not small.any():
        return mask
    filled: Mask = mask | small[labels[1:-1, 1:-1]]
    return filled


def own_masks(masks: Iterable[Any], size: tuple[int, int]) -> list[Instance]:
    """Arrays or tensors that a caller gave for a photo of `size` = (H, W), as instances; empty ones are none.

    Raises:
        UsageError: see `read_mask`.
    """
    read = (read_mask(_as_array(mask), size) for mask in masks)
    found = (Instance.from_mask(mask, label=OWN_MASK, source="file") for mask in read)
    return [one for one in found if one is not None]


def _as_array(mask: Any) -> AnyArray:
    """A tensor, whose channels come first, or a picture, which may have a palette, as an array; anything else as NumPy sees it."""
    if isinstance(mask, (str, bytes, os.PathLike)):
        raise UsageError(
            f"mask {mask!r}: give the picture itself, as an array, a tensor or a PIL image, and not its file"
        )
    if isinstance(mask, Image.Image):
        return np.asarray(mask.convert("RGBA") if mask.mode in _SHOWN_OTHERWISE else mask)
    if not hasattr(mask, "detach"):
        return np.asarray(mask)
    values = mask.detach().cpu()
    # NumPy has no bfloat16.
    array: AnyArray = (values.float() if values.is_floating_point() and values.element_size() < 4 else values).numpy()
    return array[0] if array.ndim == 3 and array.shape[0] == 1 else array


def read_mask(array: AnyArray, size: tuple[int, int]) -> Mask:
    """The (H, W) bool mask of a picture of one: white removes.

    Args:
        array: (H, W), (H, W, 1..4) of bool, integers or floats. White is 1, 255 or 65535, the least that no value exceeds (floats
            may exceed 1 by what interpolation adds), and
            what is above half of it removes (a lossy file rings around black, so "above zero" would remove noise).
            With an alpha channel that varies, and no white or grey in the colours, the alpha is the mask.
        size: (H, W) of the photo.

    Raises:
        UsageError: the sizes differ, the array is no picture, or it is dark all over without being black.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= array.shape[2] <= 4):
        hint = ", the channels last" if array.ndim == 3 and array.shape[1:] == size else ""
        raise UsageError(f"a mask of shape {array.shape} is no picture: give (H, W) or (H, W, channels){hint}")
    if array.dtype.kind not in "biuf":
        raise UsageError(f"a mask of {array.dtype} is no picture: give bool, integers or floats")
    if array.shape[:2] != size:
        raise UsageError(
            f"the mask is {array.shape[1]}x{array.shape[0]} pixels, the photo {size[1]}x{size[0]}: they must be equal"
        )
    if array.dtype == np.bool_:
        boolean: Mask = array.copy() if array.ndim == 2 else np.any(array, axis=2)
        return boolean
    grey = _mask_plane(array) if array.ndim == 3 else array
    mask: Mask = grey > _white(array) / 2
    if not mask.any() and grey.any():
        raise UsageError(
            f"the mask's brightest pixel is {grey.max():g} of {_white(array):g}, and only what is above half removes"
        )
    return mask


def png_of(mask: Mask, *, bits: Literal[1, 8] = 8) -> bytes:
    """An (H, W) bool mask as a PNG file, white where True; with 8 bits, as most tools expect of a grey picture, or with 1."""
    buffer = io.BytesIO()
    Image.fromarray(mask if bits == 1 else mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return buffer.getvalue()


def _white(array: AnyArray) -> float:
    """The value that stands for white: 1, 255 or 65535, the least that no value exceeds; 255 or 1 for bytes."""
    greatest = float(array.max(initial=0))
    if greatest <= (1.5 if array.dtype.kind == "f" else 1):
        return 1.0
    return 255.0 if greatest <= 255 else 65535.0 if greatest <= 65535 else greatest


def _mask_plane(array: AnyArray) -> AnyArray:
    channels = array.shape[2]
    colours = array[:, :, : 3 if channels >= 3 else 1]
    if channels in (2, 4):
        alpha = array[:, :, -1]
        if not colours.any() and alpha.min() != alpha.max():
            return alpha
        colours = np.where(alpha[:, :, None] > 0, colours, 0)
    plane: AnyArray = colours.max(axis=2)
    return plane
