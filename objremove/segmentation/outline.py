"""From logits at a network's scale to masks at the photo's scale.

Logits are brought to photo scale bilinearly and thresholded there, never the other way round: the outline follows the
sub-pixel zero line instead of the network's grid. Only the box around what is positive is ever made, in bands of rows, so that
a small object in a 100-megapixel photo costs no more than its own area.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from objremove.instances import Instance
from objremove.masks import close_gaps
from objremove.types import AnyArray, Mask, Pixels

FloatMap = NDArray[np.float32]
_BAND_PIXELS = 1 << 22  # floats made at a time: 16 MiB


def as_uint8(pixels: Pixels) -> NDArray[np.uint8]:
    """(H, W, 3) with 8 bits; 16-bit photos lose their lower byte: reduce them first. Not copied where nothing changes."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return (pixels >> 8).astype(np.uint8)


def resize(image: Pixels, size: tuple[int, int]) -> Pixels:
    """`image`, (h, w, 3), at `size` = (H, W), in its own bits: area-averaged where it shrinks, bilinear where it grows."""
    if image.shape[:2] == size:
        return image
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: AnyArray = np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=method))
    return resized


def positive_crop(logits: FloatMap, size: tuple[int, int]) -> tuple[Mask, tuple[int, int]] | None:
    """Where `logits`, (h, w), brought bilinearly to `size` = (H, W), exceed 0: a bool crop and its corner (x, y) in the photo.

    The two grids cover the same area (pixel areas, not centres, are aligned). None where nothing is positive.
    """
    rows, columns = np.flatnonzero((logits > 0).any(axis=1)), np.flatnonzero((logits > 0).any(axis=0))
    if not rows.size:
        return None
    top, bottom = _grown_span(rows, logits.shape[0], size[0])
    left, right = _grown_span(columns, logits.shape[1], size[1])
    wide = _sample(logits, np.arange(left, right), logits.shape[1] / size[1], axis=1)
    crop = np.empty((bottom - top, right - left), dtype=np.bool_)
    band = max(1, _BAND_PIXELS // crop.shape[1])
    for start in range(0, crop.shape[0], band):
        stop = min(start + band, crop.shape[0])
        values = _sample(wide, np.arange(top + start, top + stop), logits.shape[0] / size[0], axis=0)
        np.greater(values, 0, out=crop[start:stop])
    return crop, (left, top)


def _grown_span(indices: NDArray[np.intp], cells: int, pixels: int) -> tuple[int, int]:
    """The photo pixels that positive cells can reach: one cell further on either side."""
    first = int((indices[0] - 1) * pixels / cells) - 1
    last = int((indices[-1] + 2) * pixels / cells) + 1
    return max(0, first), min(pixels, last)


def _sample(values: FloatMap, targets: NDArray[np.intp], ratio: float, *, axis: int) -> FloatMap:
    """Linear interpolation along one axis at the pixels `targets` of a grid that is `1 / ratio` times as fine; edges repeat."""
    cells = values.shape[axis]
    position = np.clip((targets + 0.5) * ratio - 0.5, 0, cells - 1)
    lower = np.floor(position).astype(np.intp)
    upper = np.minimum(lower + 1, cells - 1)
    weight = (position - lower).astype(np.float32)
    weight = weight[:, None] if axis == 0 else weight[None, :]
    low, high = values.take(lower, axis), values.take(upper, axis)
    high -= low
    high *= weight
    high += low
    return np.asarray(high, dtype=np.float32)


def close_small_gaps(crop: Mask, share: float = 0.02) -> Mask:
    """`crop` with the gaps closed that its object surrounds and that are no larger than `share` of the object's area."""
    return close_gaps(crop, largest=share * np.count_nonzero(crop))


def instance_from_logits(
    logits: FloatMap, size: tuple[int, int], *, label: str, score: float, boundary_error: float, source: str
) -> Instance | None:
    """The instance where `logits`, (h, w) over the whole photo, exceed 0 at photo scale, small gaps closed; None where nowhere."""
    found = positive_crop(logits, size)
    if found is None:
        return None
    crop, corner = found
    return Instance.from_crop(
        close_small_gaps(crop), corner, size, label=label, score=score, boundary_error=boundary_error, source=source
    )
