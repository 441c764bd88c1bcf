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
CREDENTIALS = b"caBX"
"""The chunk of content credentials (C2PA), which hold pictures of the photo as it was."""
_COLOUR_TYPES = {"I;16": 0, "RGB;16": 2, "LA;16": 4, "RGBA;16": 6}
_KNOWN = b"bKGD cHRM cICP cLLI gAMA hIST iCCP mDCV pCAL sBIT sPLT sRGB tIME".split()
_OF_CODING = (b"iDOT", b"dSIG")  # where Apple's readers find the pixels, and a signature over them
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_XMP = b"XML:com.adobe.xmp"
_RAW_PROFILE = b"Raw profile type "
_MOST_TEXT = 1 << 26  # bytes that a compressed text may have
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


def is_unsafe(name: bytes) -> bool:
    """Whether a chunk may depend on the pixels in a way that nobody here knows: by its fourth letter, which is there for editors."""
    return name[3:4].isupper() and name not in _KNOWN


def is_private(name: bytes) -> bool:
    """Whether such a chunk is a program's own, as Fireworks' layers and previews."""
    return is_unsafe(name) and name not in (*_CODING, *_ANIMATION, *_OF_CODING, CREDENTIALS)


def check_whole(data: bytes) -> set[bytes]:
    """The names of its chunks; `PhotoError` for a PNG that is not whole: decoders return what they have of it, but it could not
    be written again."""
    return {chunk.name for chunk in chunks(data)}


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
    """The new PNG with the ancillary chunks of the source that hold for any pixels: text, gamma, ICC, EXIF, density, time; the
    orientation reset to 1."""
    own = [chunk for chunk in chunks(encoded) if chunk.name in _CODING]
    before_palette, before_data, after = _ancillary(chunks(source))
    palette = next((i for i, c in enumerate(own) if c.name == b"PLTE"), 1)
    data = next(i for i, c in enumerate(own) if c.name == b"IDAT")
    ordered = [*own[:palette], *before_palette, *own[palette:data], *before_data, *own[data:-1], *after, own[-1]]
    return _SIGNATURE + b"".join(chunk.encode() for chunk in ordered)


def _ancillary(source: Iterable[Chunk]) -> tuple[list[Chunk], list[Chunk], list[Chunk]]:
    """The source's ancillary chunks that stand before PLTE, before IDAT, and after it."""
    places: tuple[list[Chunk], list[Chunk], list[Chunk]] = ([], [], [])
    place, found = 0, list(source)
    has_exif = any(chunk.name == b"eXIf" for chunk in found)
    for chunk in found:
        if chunk.name in (b"PLTE", b"tRNS"):
            place = max(place, 1)
        elif chunk.name == b"IDAT":
            place = 2
        elif chunk.name not in (*_CODING, *_ANIMATION) and not is_unsafe(chunk.name):
            cleaned = _upright(chunk)
            if cleaned.name != b"eXIf":
                places[place].append(cleaned)
            elif chunk.name == b"eXIf" or not has_exif:  # its place is before the pixels, wherever it stood as text
                places[min(place, 1)].append(cleaned)
    return places


def _upright(chunk: Chunk) -> Chunk:
    """The chunk without thumbnails and with orientation 1, where it holds EXIF, XMP or Photoshop's resources, as what it is or as text."""
    if chunk.name == b"eXIf":
        return Chunk(chunk.name, metadata.exif_upright(metadata.exif_without_thumbnail(chunk.data)))
    if chunk.name not in _TEXT:
        return chunk
    keyword, _, rest = chunk.data.partition(b"\x00")
    try:
        if keyword == _XMP:
            return _xmp_chunk(_text(chunk.name, rest))
        if keyword.startswith(_RAW_PROFILE):
            return (
                _plain_profile(keyword.removeprefix(_RAW_PROFILE).lower(), _profile(_text(chunk.name, rest))) or chunk
            )
    except (ValueError, IndexError, zlib.error):
        return chunk  # nobody can read it
    return chunk


def _plain_profile(kind: bytes, profile: bytes) -> Chunk | None:
    """A profile that old programs write as hexadecimal text, as what it is; None for those that show nothing of the photo."""
    block = profile.removeprefix(b"Exif\x00\x00")
    if kind in (b"exif", b"app1") and block[:2] in (b"II", b"MM"):
        return _upright(Chunk(b"eXIf", block))
    if kind in (b"xmp", b"app1"):
        return _xmp_chunk(profile.removeprefix(b"http://ns.adobe.com/xap/1.0/\x00"))
    if kind in (b"8bim", b"iptc"):
        cleaned = metadata.irb_without_thumbnails(profile)
        if cleaned == profile:
            return None
        lines = b"\n".join(cleaned.hex().encode()[start : start + 72] for start in range(0, 2 * len(cleaned), 72))
        head = b"\n%s\n%8d\n" % (kind, len(cleaned))
        return Chunk(b"zTXt", _RAW_PROFILE + kind + b"\x00\x00" + zlib.compress(head + lines + b"\n"))
    return None


def _xmp_chunk(xmp: bytes) -> Chunk:
    """XMP as the specification of XMP wants it in a PNG: international text, not compressed."""
    return Chunk(b"iTXt", _XMP + bytes(5) + metadata.xmp_upright(metadata.xmp_without_thumbnails(xmp)))


def _text(name: bytes, rest: bytes) -> bytes:
    """The text of a chunk, unpacked; `rest` is what follows its keyword. `ValueError` or `zlib.error` where it cannot be read."""
    packed = name == b"zTXt"
    if name == b"zTXt":
        rest = rest[1:]
    elif name == b"iTXt":
        packed = rest[0] == 1
        rest = rest[2:].split(b"\x00", 2)[2]
    if not packed:
        return rest
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(rest, _MOST_TEXT)
    if not unpacker.eof:
        raise ValueError("too long, or cut off")
    return text


def _profile(text: bytes) -> bytes:
    """The bytes of a profile that is written as a name, a length and hexadecimal digits, each on lines of their own."""
    _, length, digits = text.lstrip(b"\n").split(b"\n", 2)
    profile = bytes.fromhex(digits.decode("ascii"))
    if len(profile) != int(length):
        raise ValueError("cut off")
    return profile
