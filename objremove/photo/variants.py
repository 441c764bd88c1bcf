"""Whole files of a known format whose samples are of a kind that is not read here.

They are called by what they are, so that nobody takes them for damaged.
"""

from __future__ import annotations

import io
import struct
from typing import Any

from PIL import TiffImagePlugin

from objremove.photo.jpeg_file import FRAMES, JpegFile, Unspliceable

_WAY_OUT = "convert it to RGB or grey with 8 or 16 bits a channel first"
_JPEG_LS = 0xF7  # SOF55 of ITU-T T.87
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
_BITS, _PHOTOMETRIC, _SAMPLES, _SAMPLE_FORMAT = 258, 262, 277, 339
_RGB, _INKS = 2, 5
_READ_COLOURS = range(7)  # grey, RGB, palette, mask, inks, YCbCr
_COLOURS = {8: "CIELAB", 9: "ICC LAB", 10: "ITU LAB", 32803: "raw sensor data", 34892: "raw sensor data"}
_KINDS = {2: "signed integer", 3: "float", 5: "complex integer", 6: "complex float"}


def unsupported(data: bytes) -> str | None:
    """Why an intact file cannot be read, and what to do; None where its header tells of nothing unusual, or cannot be read."""
    if data[:2] == b"\xff\xd8":
        what = _of_jpeg(data)
    elif data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        what = _of_tiff(data)
    else:
        what = "32-bit float samples" if data[:3] in (b"PF\n", b"Pf\n") else None
    return None if what is None else f"{what}: this kind of pixels is not supported; {_WAY_OUT}"


def _of_jpeg(data: bytes) -> str | None:
    """By the frame header, ITU-T T.81, B.2.2."""
    try:
        segments = JpegFile(data).segments
    except Unspliceable:
        return None
    frame = next((one for one in segments if one.payload and one.marker in {*FRAMES, _JPEG_LS}), None)
    if frame is None:
        return None
    if frame.marker == _JPEG_LS or frame.marker in _LOSSLESS:
        return "a JPEG in lossless coding"
    return None if frame.payload[0] == 8 else f"a JPEG with {frame.payload[0]} bits a channel"


def _of_tiff(data: bytes) -> str | None:
    """By the tags of the first page, TIFF 6.0, section 8."""
    try:
        # BigTIFF, version 43, has a longer header.
        tags: Any = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if 43 in data[2:4] else 8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        colour, channels = int(tags.get(_PHOTOMETRIC, 1)), int(tags.get(_SAMPLES, 1))
        bits, kind = max(map(int, tags.get(_BITS, (1,)))), max(map(int, tags.get(_SAMPLE_FORMAT, (1,))))
    except (SyntaxError, OSError, ValueError, TypeError, IndexError, OverflowError, struct.error):
        return None
    if colour not in _READ_COLOURS:
        return f"a TIFF in {_COLOURS.get(colour, f'colours of kind {colour}')}"
    most = 4 if bits <= 8 or colour in (_RGB, _INKS) else 1
    if kind in _KINDS or bits > 16 or channels > most:
        return f"a TIFF with {bits}-bit {_KINDS.get(kind, 'integer')} samples, {channels} a pixel"
    return None
