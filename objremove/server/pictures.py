"""Pictures for clients: previews, and outlines as polygons."""

from __future__ import annotations

import io
import math

import cv2
import numpy as np
from PIL import Image

from objremove.instances import Instance
from objremove.photo import Photo, read
from objremove.types import Mask

_TRACED_PIXELS = (
    4_000_000  # larger objects are traced in blocks of pixels, which are still finer than the simplified outline
)
_MOST_OUTLINES = 500


def preview(photo: Photo, file: bytes, side: int) -> bytes:
    """The photo as a WebP file whose longest side is at most `side`, upright, with the colour profile of its `file`."""
    pixels = photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
    height, width = photo.size
    scale = min(1.0, side / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    eight = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    with read.identify(file, "input") as header:
        profile = header.info.get("icc_profile")
        header_is_rgb = header.mode not in ("CMYK", "L", "LA", "I;16")  # a profile of other channels would not fit
    target = io.BytesIO()
    Image.fromarray(eight).save(
        target, "WEBP", quality=88, method=2, **({"icc_profile": profile} if profile and header_is_rgb else {})
    )
    return target.getvalue()


def outline(one: Instance) -> list[list[list[int]]]:
    """The outlines of its parts and of the holes in them, each a list of [x, y] in photo pixels, simplified by 0.3 percent.

    To be filled by the even-odd rule. Of very many the longest are given, the longest first.
    """
    x0, y0, x1, y1 = one.box
    step = math.ceil(math.sqrt(one.crop.size / _TRACED_PIXELS))
    # RETR_LIST: to find out which contour lies in which takes time that grows with the square of their number.
    contours, _ = cv2.findContours(_in_blocks(one.crop, step).view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    tolerance = max(0.5, 0.003 * max(x1 - x0, y1 - y0) / step)
    longest = sorted(contours, key=len, reverse=True)[:_MOST_OUTLINES]
    return [(cv2.approxPolyDP(contour, tolerance, True)[:, 0] * step + (x0, y0)).tolist() for contour in longest]


def _in_blocks(mask: Mask, step: int) -> Mask:
    """The mask at a `step`th of its size: whatever touches a block of `step` x `step` pixels fills it."""
    if step == 1:
        return mask
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % step), (0, -width % step)))
    blocks = padded.reshape(-(-height // step), step, -(-width // step), step)
    return np.asarray(blocks.any(axis=(1, 3)), np.bool_)
