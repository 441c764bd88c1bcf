"""Pictures for clients: previews, masks as files, outlines as polygons."""

from __future__ import annotations

import io
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from objremove.instances import Instance
from objremove.photo import Photo, read
from objremove.types import AnyArray, Mask


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
    """The outlines of its parts and of the holes in them, each a list of [x, y] in photo pixels, simplified by half a percent.

    To be filled by the even-odd rule.
    """
    x0, y0, x1, y1 = one.box
    contours, _ = cv2.findContours(one.crop.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0))
    tolerance = max(0.5, 0.003 * max(x1 - x0, y1 - y0))
    return [cv2.approxPolyDP(contour, tolerance, True)[:, 0].tolist() for contour in contours]


def png_of(mask: Mask) -> bytes:
    """A mask as a PNG file of one bit a pixel, white where True."""
    return _encoded(".png", mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])


def _encoded(extension: str, pixels: AnyArray, flags: Sequence[int]) -> bytes:
    done, data = cv2.imencode(extension, pixels, list(flags))
    if not done:
        raise MemoryError
    return data.tobytes()
