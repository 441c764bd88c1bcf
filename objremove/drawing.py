"""Pictures for people: numbered outlines of what was found, and before | mask | after."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from objremove.instances import Instance
from objremove.types import Mask, Pixels

MASK_COLOUR = (255, 64, 96)


def as_picture(pixels: Pixels) -> Image.Image:
    """(H, W, 3) uint8 or uint16 as an 8-bit RGB picture."""
    eight = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    return Image.fromarray(np.ascontiguousarray(eight))


def encode_picture(picture: Image.Image, format: str = "PNG") -> bytes:
    """A picture for people as a PNG or JPEG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format, **({"quality": 92} if format == "JPEG" else {}))
    return buffer.getvalue()


def side_by_side(before: Pixels, mask: Mask, after: Pixels) -> Image.Image:
    """Before | mask | after as one RGB picture; the mask is tinted over a greyed photo."""
    first, last = as_picture(before), as_picture(after)
    grey = np.asarray(first.convert("L"))[:, :, None].repeat(3, axis=2)
    middle = np.where(mask[:, :, None], np.array(MASK_COLOUR, np.uint8), grey // 2 + 64)
    width, height = first.size
    gap = max(2, width // 100)
    sheet = Image.new("RGB", (3 * width + 2 * gap, height), "white")
    for place, picture in enumerate((first, Image.fromarray(middle.astype(np.uint8)), last)):
        sheet.paste(picture, (place * (width + gap), 0))
    return sheet


def draw_instances(pixels: Pixels, labelled: Iterable[tuple[str, Instance]]) -> Image.Image:
    """The photo with each instance tinted, outlined and tagged with its text, e.g. `person#2`."""
    picture = as_picture(pixels)
    canvas = np.array(picture)
    items = list(labelled)
    for place, (_, one) in enumerate(items):
        _tint(canvas, one, _colour(place))
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(12, round(min(picture.size) / 28)))
    for place, (text, one) in enumerate(items):
        _tag(draw, text, one.box, _colour(place), font)
    return picture


def _colour(place: int) -> tuple[int, int, int]:
    """Hues a golden angle apart: neighbours in the table never look alike."""
    red, green, blue = colorsys.hsv_to_rgb(place * 0.618034 % 1, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _tint(canvas: Pixels, one: Instance, colour: tuple[int, int, int]) -> None:
    import cv2

    x0, y0, x1, y1 = one.box
    area = canvas[y0:y1, x0:x1]
    area[one.crop] = (0.6 * area[one.crop] + 0.4 * np.array(colour)).astype(np.uint8)
    outlines, _ = cv2.findContours(one.crop.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x0, y0))
    cv2.drawContours(canvas, outlines, -1, colour, max(1, round(min(canvas.shape[:2]) / 250)))


def _tag(
    draw: ImageDraw.ImageDraw,
    text: str,
    box: tuple[int, int, int, int],
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 8, bottom - top + 6
    x = min(max(0, box[0]), max(0, round(draw.im.size[0] - width)))
    y = box[1] - height if box[1] >= height else box[1]
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 4 - left, y + 3 - top), text, fill="black", font=font)
