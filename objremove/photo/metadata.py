"""What a photo carries besides pixels: EXIF, XMP, Photoshop resources, changed in place and by the byte.

Pillow can rewrite an EXIF block, but moves its parts, which breaks the absolute offsets inside a camera's MakerNote. The two
changes that this package needs (no thumbnail, orientation 1) keep every byte where it is, so that all else survives.
A block that cannot be parsed is returned as it came: nothing in it can be reached by a reader either.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

JUMBF = b"JP"
"""How an APP11 segment of a JPEG begins that holds boxes of ISO 19566-5: content credentials, with pictures of the photo as it was."""
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\x00"
"""How an APP1 segment begins that goes on with an XMP packet too long for one: whole pictures, depth maps."""

_EXIF_PREFIX = b"Exif\x00\x00"
_ORIENTATION = 0x0112
# Where IFD1 says that its picture lies: (offset tag, length tag), as a JPEG or as raw strips (EXIF 2.32, 4.6.4 and 4.6.8).
_THUMBNAIL_TAGS = ((0x0201, 0x0202), (0x0111, 0x0117))
_NUMBER_FORMATS = {3: "H", 4: "I"}  # TIFF 6.0 field types SHORT and LONG
_IRB_THUMBNAILS = (1033, 1036)  # Photoshop image resources: thumbnail of Photoshop 4, and of 5 and later


@dataclass(frozen=True)
class _Field:
    tag: int
    kind: int
    count: int
    position: int  # of the four bytes that hold the value or its offset


class _Directory:
    """One TIFF image file directory: its fields, and where the pointer to the next one stands."""

    def __init__(self, block: bytearray, order: str, offset: int) -> None:
        (count,) = struct.unpack_from(order + "H", block, offset)
        starts = [offset + 2 + 12 * index for index in range(count)]
        self.fields: list[_Field] = []
        for start in starts:
            tag, kind, values = struct.unpack_from(order + "HHI", block, start)
            self.fields.append(_Field(tag, kind, values, start + 8))
        self.next_position = offset + 2 + 12 * count
        (self.next_offset,) = struct.unpack_from(order + "I", block, self.next_position)

    def numbers(self, block: bytearray, order: str, tag: int) -> list[int]:
        """The values of a SHORT or LONG field; empty where there is none."""
        for field in self.fields:
            if field.tag == tag and field.kind in _NUMBER_FORMATS and field.count <= len(block):
                layout = f"{order}{field.count}{_NUMBER_FORMATS[field.kind]}"
                position = field.position
                if struct.calcsize(layout) > 4:
                    (position,) = struct.unpack_from(order + "I", block, position)
                return list(struct.unpack_from(layout, block, position))
        return []


def _split(exif: bytes) -> tuple[bytes, bytearray, str]:
    """Prefix, TIFF block and byte order of an EXIF block; raises `struct.error` where it is none."""
    prefix = _EXIF_PREFIX if exif.startswith(_EXIF_PREFIX) else b""
    block = bytearray(exif[len(prefix) :])
    orders = {b"II": "<", b"MM": ">"}
    if bytes(block[:2]) not in orders:
        raise struct.error("no TIFF header")
    return prefix, block, orders[bytes(block[:2])]


def _first_directory(block: bytearray, order: str) -> _Directory:
    return _Directory(block, order, struct.unpack_from(order + "I", block, 4)[0])


def exif_without_thumbnail(exif: bytes) -> bytes:
    """The EXIF block with IFD1 unlinked and its picture blanked: it still shows what was removed from the photo."""
    try:
        prefix, block, order = _split(exif)
        first = _first_directory(block, order)
        if not first.next_offset:
            return exif
        struct.pack_into(order + "I", block, first.next_position, 0)
        second = _Directory(block, order, first.next_offset)
        for offset_tag, length_tag in _THUMBNAIL_TAGS:
            ranges = zip(
                second.numbers(block, order, offset_tag), second.numbers(block, order, length_tag), strict=False
            )
            for start, length in ranges:
                block = _blanked(block, start, start + length)
    except struct.error:
        return exif
    return prefix + bytes(block)


def _blanked(block: bytearray, start: int, stop: int) -> bytearray:
    """Zeros from `start` to `stop`, or a shorter block where nothing follows."""
    if not 8 <= start < stop:
        return block
    if stop >= len(block):
        return block[:start]
    block[start:stop] = bytes(stop - start)
    return block


def exif_upright(exif: bytes) -> bytes:
    """The EXIF block with its orientation tag set to 1, for pixels that are written upright."""
    try:
        prefix, block, order = _split(exif)
        for field in _first_directory(block, order).fields:
            if field.tag == _ORIENTATION and field.kind in _NUMBER_FORMATS:
                struct.pack_into(order + _NUMBER_FORMATS[field.kind], block, field.position, 1)
    except struct.error:
        return exif
    return prefix + bytes(block)


def xmp_upright(xmp: bytes) -> bytes:
    """The XMP packet with `tiff:Orientation` set to 1, as attribute or as element; its length is kept."""
    return re.sub(rb"(tiff:Orientation\s*(?:=\s*[\"']|>))\s*[2-8]", rb"\g<1>1", xmp)


def xmp_without_thumbnails(xmp: bytes) -> bytes:
    """The XMP packet without `xmp:Thumbnails`; the freed room becomes white space, so that lengths elsewhere still hold."""
    return re.sub(
        rb"<(xmp|xap):Thumbnails.*?</\1:Thumbnails>", lambda match: b" " * len(match[0]), xmp, flags=re.DOTALL
    )


def xmp_without_extension(xmp: bytes) -> bytes:
    """The XMP packet without the name of the extension that it goes on in; its length is kept."""
    return re.sub(
        rb"xmpNote:HasExtendedXMP\s*=\s*([\"']).*?\1", lambda match: b" " * len(match[0]), xmp, flags=re.DOTALL
    )


def irb_without_thumbnails(resources: bytes) -> bytes:
    """Photoshop image resources (the 8BIM blocks, without the APP13 signature) without their thumbnails."""
    try:
        return b"".join(block for number, block in _irb_blocks(resources) if number not in _IRB_THUMBNAILS)
    except (struct.error, IndexError):
        return resources


def _irb_blocks(resources: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each 8BIM block; name and data are each padded to an even length."""
    start = 0
    while resources[start : start + 4] == b"8BIM":
        (number,) = struct.unpack_from(">H", resources, start + 4)
        name = 1 + resources[start + 6]
        size_position = start + 6 + name + name % 2
        (size,) = struct.unpack_from(">I", resources, size_position)
        stop = size_position + 4 + size + size % 2
        yield number, resources[start:stop]
        start = stop
    if start < len(resources):
        yield 0, resources[start:]
