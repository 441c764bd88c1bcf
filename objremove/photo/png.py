"""PNG by the chunk: every chunk of the source that is not pixels goes into the new file, and 16-bit colour, which Pillow lacks.

Chunk names and order follow the PNG specification (third edition, 2025), sections 5 and 11.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from objremove.errors import PhotoError
from objremove.photo import metadata
from objremove.types import AnyArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What describes the pixels as they are coded; the new file has its own. `tRNS` goes with the mode, which Pillow writes.
_CODING = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_COLOUR_TYPES = {"I;16": 0, "RGB;16": 2, "LA;16": 4, "RGBA;16": 6}
_XMP = b"XML:com.adobe.xmp\x00"
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Chunk:
    """Four-letter name and data of one chunk."""

    name: bytes
    data: bytes

    def encode(self) -> bytes:
        """The bytes of the chunk in a file."""
        return (
            struct.pack(">I", len(self.data))
            + self.name
            + self.data
            + struct.pack(">I", zlib.crc32(self.name + self.data))
        )


def chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a PNG file; raises `PhotoError` where it ends before IEND or a checksum is wrong."""
    position = len(_SIGNATURE)
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        position += 12 + length
        if position > len(data):
            break
        if zlib.crc32(name + body) != struct.unpack_from(">I", data, position - 4)[0]:
            raise PhotoError(
                f"damaged PNG: wrong checksum in chunk {name.decode('ascii', 'replace')}; get a fresh copy"
            )
        yield Chunk(name, body)
        if name == b"IEND":
            return
    raise PhotoError("truncated PNG: the file ends before its last chunk; get a fresh copy")


def check_whole(data: bytes) -> None:
    """Raise `PhotoError` for a PNG that is not whole: decoders return what they have of it, but it could not be written again."""
    for _ in chunks(data):
        pass


def deep_mode(data: bytes) -> str | None:
    """`RGB;16`, `LA;16` or `RGBA;16` where the PNG has 16-bit samples that Pillow would cut to 8 bits, else None."""
    if len(data) < 26 or data[24] != 16:
        return None
    return {2: "RGB;16", 4: "LA;16", 6: "RGBA;16"}.get(data[25])


def read_deep(data: bytes, mode: str) -> AnyArray:
    """(H, W, C) uint16 samples, C as in `mode`, of a whole file, read by OpenCV; raises `PhotoError` for damaged pixels."""
    import cv2

    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16 or image.ndim != 3:
        raise PhotoError("damaged PNG: its pixels cannot be decoded; get a fresh copy")
    if mode == "LA;16":
        return np.ascontiguousarray(image[..., [0, -1]])
    order = [2, 1, 0, 3] if mode == "RGBA;16" else [2, 1, 0]
    return np.ascontiguousarray(image[..., order])


def encode_deep(samples: AnyArray, mode: str, transparent: tuple[int, ...] = ()) -> bytes:
    """A PNG of uint16 samples, (H, W) for `I;16`, else (H, W, C); every row is coded as the difference to the row above it.

    `transparent` is the colour that `tRNS` marks, red, green and blue; empty for none.
    """
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[mode], 0, 0, 0)
    packer = zlib.compressobj(6)
    packed = [packer.compress(rows) for rows in _filtered_rows(samples.reshape(height, -1))]
    marked = [Chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))] if transparent else []
    pixels = Chunk(b"IDAT", b"".join([*packed, packer.flush()]))
    parts = [Chunk(b"IHDR", header), *marked, pixels, Chunk(b"IEND", b"")]
    return _SIGNATURE + b"".join(chunk.encode() for chunk in parts)


def _filtered_rows(rows: AnyArray) -> Iterator[bytes]:
    """Rows with filter type 2, Up, some hundred at a time."""
    above = np.zeros((1, 2 * rows.shape[1]), dtype=np.uint8)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        octets = rows[start : start + _ROWS_AT_ONCE].astype(">u2").view(np.uint8)
        filtered = np.empty((len(octets), octets.shape[1] + 1), dtype=np.uint8)
        filtered[:, 0] = 2
        filtered[:, 1:] = octets - np.concatenate([above, octets[:-1]])
        above = octets[-1:]
        yield filtered.tobytes()


def with_metadata(encoded: bytes, source: bytes) -> bytes:
    """The new PNG with all ancillary chunks of the source: text, gamma, ICC, EXIF, density, time; the orientation reset to 1."""
    own = [chunk for chunk in chunks(encoded) if chunk.name in _CODING]
    before_palette, before_data, after = _ancillary(chunks(source))
    palette = next((i for i, c in enumerate(own) if c.name == b"PLTE"), 1)
    data = next(i for i, c in enumerate(own) if c.name == b"IDAT")
    ordered = [*own[:palette], *before_palette, *own[palette:data], *before_data, *own[data:-1], *after, own[-1]]
    return _SIGNATURE + b"".join(chunk.encode() for chunk in ordered)


def _ancillary(source: Iterable[Chunk]) -> tuple[list[Chunk], list[Chunk], list[Chunk]]:
    """The source's ancillary chunks that stand before PLTE, before IDAT, and after it."""
    places: tuple[list[Chunk], list[Chunk], list[Chunk]] = ([], [], [])
    place = 0
    for chunk in source:
        if chunk.name in (b"PLTE", b"tRNS"):
            place = max(place, 1)
        elif chunk.name == b"IDAT":
            place = 2
        elif chunk.name not in _CODING and chunk.name not in _ANIMATION:
            places[place].append(_upright(chunk))
    return places


def _upright(chunk: Chunk) -> Chunk:
    """The chunk without thumbnail and with orientation 1, where it is EXIF or uncompressed XMP."""
    if chunk.name == b"eXIf":
        return Chunk(chunk.name, metadata.exif_upright(metadata.exif_without_thumbnail(chunk.data)))
    if chunk.name == b"iTXt" and chunk.data.startswith(_XMP):
        return Chunk(chunk.name, metadata.xmp_upright(metadata.xmp_without_thumbnails(chunk.data)))
    return chunk
