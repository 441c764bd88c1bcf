"""The contact sheet: original, hole and every method side by side, to be judged in a minute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from objremove.drawing import MASK_COLOUR, as_picture
from objremove.training.files import Bytes
from objremove.training.pictures import sheet
from objremove.types import Mask, Pixels

SheetRow = tuple[str, Sequence[Pixels]]
"""What the row shows, and its (H, W, 3) RGB pictures."""

_HEADER, _SIZE = 24, 14


def tinted(picture: Bytes, hole: Mask) -> Bytes:
    """The picture with the hole in a flat colour."""
    return np.where(hole[:, :, None], np.array(MASK_COLOUR, np.uint8), picture)


def contact_sheet(columns: Sequence[str], rows: Sequence[SheetRow]) -> Image.Image:
    """A picture of all rows under the names of their columns; what a row shows stands in its first picture."""
    pictures = Image.fromarray(sheet([[np.asarray(as_picture(one)) for one in row] for _, row in rows]))
    width, height = pictures.width // len(columns), pictures.height // len(rows)
    page = Image.new("RGB", (pictures.width, pictures.height + _HEADER), "white")
    page.paste(pictures, (0, _HEADER))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=_SIZE)
    for place, name in enumerate(columns):
        draw.text((place * width + 6, 4), _fitted(name, width - 12, font), fill="black", font=font)
    for place, (name, _) in enumerate(rows):
        text = _fitted(name, width - 12, font)
        position = (6, _HEADER + place * height + 4)
        draw.text(position, text, fill="white", font=font, stroke_width=2, stroke_fill="black")
    return page


def _fitted(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, its beginning left out where it is too long."""
    while font.getlength(text) > width and len(text) > 2:
        text = "…" + text[2:]
    return text
