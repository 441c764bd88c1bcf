"""A JPEG file taken apart: marker segments of the header, frame, tables, scans, and what follows the picture.

Names follow ITU-T T.81: frame (SOF), scan (SOS), MCU, quantisation table (DQT).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from objremove.forks import cached
from objremove.photo import metadata

EOI, SOS, DQT, DHT, DRI, COM = 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xFE
APP0, APP1, APP2, APP11, APP13, APP14 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE
FRAMES = {*range(0xC0, 0xD0)} - {DHT, 0xC8, 0xCC}
BASELINE, EXTENDED, PROGRESSIVE = 0xC0, 0xC1, 0xC2
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # not stuffing, not a restart, not a fill byte
# Natural index of each coefficient in file order: diagonals, up on the even ones and down on the odd ones.
_ZIGZAG = np.array(sorted(range(64), key=lambda i: (i // 8 + i % 8, i % 8 if (i // 8 + i % 8) % 2 == 0 else i // 8)))


class Unspliceable(Exception):
    """The blocks of this file cannot be exchanged; the message is the reason, such as `arithmetic coding`."""


@dataclass(frozen=True)
class Segment:
    """One marker segment of the header: marker code (0xE1 for APP1) and payload without the length."""

    marker: int
    payload: bytes

    def encode(self) -> bytes:
        """The bytes of the segment in a file."""
        return b"\xff" + bytes([self.marker]) + (len(self.payload) + 2).to_bytes(2, "big") + self.payload

    @property
    def is_metadata(self) -> bool:
        """Whether it is an application segment or a comment, which no decoder of coefficients needs."""
        return APP0 <= self.marker <= 0xEF or self.marker == COM


@dataclass(frozen=True)
class Component:
    """One colour component of a frame: identifier, sampling factors and number of its quantisation table."""

    identifier: int
    horizontal: int
    vertical: int
    table: int


class JpegFile:
    """The first picture in `data`, split into header segments and entropy-coded scans.

    Attributes:
        segments: the header up to the first scan.
        scans: bytes from the first SOS marker to the EOI marker, which is included.
        trailer: bytes after the picture: gain map, second MPO picture, motion video.
    """

    def __init__(self, data: bytes) -> None:
        self.segments: list[Segment] = []
        position = 2
        while True:
            match = _NEXT_MARKER.search(data, position)
            if match is None:
                raise Unspliceable("no scan")
            marker, start = data[match.end() - 1], match.end()
            if marker == SOS:
                break
            stop = start + int.from_bytes(data[start : start + 2], "big")
            self.segments.append(Segment(marker, data[start + 2 : stop]))
            position = stop
        end, self._late_tables = _end_of_picture(data, match.start())
        self.scans, self.trailer = data[match.start() : end], data[end:]

    @cached
    def frame(self) -> Segment:
        """The SOF segment."""
        frames = [segment for segment in self.segments if segment.marker in FRAMES]
        if len(frames) != 1 or len(frames[0].payload) < 6:
            raise Unspliceable("no frame header")
        return frames[0]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) as stored."""
        return int.from_bytes(self.frame.payload[1:3], "big"), int.from_bytes(self.frame.payload[3:5], "big")

    @cached
    def components(self) -> list[Component]:
        """The components of the frame in file order."""
        body = self.frame.payload[6:]
        return [Component(body[i], body[i + 1] >> 4, body[i + 1] & 15, body[i + 2]) for i in range(0, len(body), 3)]

    @cached
    def tables(self) -> dict[int, NDArray[np.uint16]]:
        """Quantisation tables by number, each (8, 8), row = vertical frequency."""
        tables: dict[int, NDArray[np.uint16]] = {}
        for segment in self.segments:
            body = segment.payload if segment.marker == DQT else b""
            while body:
                wide, number = body[0] >> 4, body[0] & 15
                values = np.frombuffer(body, dtype=">u2" if wide else np.uint8, count=64, offset=1)
                tables[number] = np.empty(64, dtype=np.uint16)
                tables[number][_ZIGZAG] = values
                tables[number] = tables[number].reshape(8, 8)
                body = body[1 + 64 * (2 if wide else 1) :]
        return tables

    @property
    def colour(self) -> str:
        """What the components are: `L`, `YCC`, `RGB`, `CMYK` or `YCCK`, by the rules that libjpeg has for it."""
        transform = next(
            (
                s.payload[11]
                for s in self.segments
                if s.marker == APP14 and s.payload[:5] == b"Adobe" and len(s.payload) > 11
            ),
            None,
        )
        count = len(self.components)
        if count == 1:
            return "L"
        if count == 4:
            return "YCCK" if transform else "CMYK"
        if any(s.marker == APP0 and s.payload[:5] == b"JFIF\x00" for s in self.segments):
            return "YCC"
        if transform is not None:
            return "RGB" if transform == 0 else "YCC"
        return "RGB" if bytes(c.identifier for c in self.components) == b"RGB" else "YCC"

    def grid(self, component: Component) -> tuple[int, int]:
        """Blocks (down, across) that a component has, without the padding to whole MCUs."""
        height, width = self.samples(component)
        return -(-height // 8), -(-width // 8)

    def samples(self, component: Component) -> tuple[int, int]:
        """Samples (down, across) that a component has."""
        tall, wide = self.largest
        height, width = self.size
        return -(-height * component.vertical // tall), -(-width * component.horizontal // wide)

    @property
    def largest(self) -> tuple[int, int]:
        """The largest sampling factors (vertical, horizontal); an MCU covers eight times that many pixels."""
        return max(c.vertical for c in self.components), max(c.horizontal for c in self.components)

    def check_spliceable(self) -> None:
        """Raise `Unspliceable` for what cannot be read to coefficients and written back."""
        names = {BASELINE: "", EXTENDED: "", PROGRESSIVE: ""}
        if self.frame.marker not in names:
            raise Unspliceable("arithmetic coding" if self.frame.marker >= 0xC9 else "lossless or hierarchical coding")
        if self.frame.payload[0] != 8:
            raise Unspliceable(f"{self.frame.payload[0]}-bit samples")
        if len(self.components) not in (1, 3, 4) or 0 in self.size:
            raise Unspliceable("an unusual frame")
        if self._late_tables or any(c.table not in self.tables for c in self.components):
            raise Unspliceable("quantisation tables that change between scans")
        tall, wide = self.largest
        if any(c.vertical * c.horizontal == 0 or tall % c.vertical or wide % c.horizontal for c in self.components):
            raise Unspliceable("fractional chroma sampling")


def _end_of_picture(data: bytes, position: int) -> tuple[int, bool]:
    """Where the picture's EOI ends, and whether a DQT stands between its scans; `position` is that of an SOS marker."""
    late_tables = False
    while (match := _NEXT_MARKER.search(data, position)) is not None:
        marker, start = data[match.end() - 1], match.end()
        if marker == EOI:
            return start, late_tables
        late_tables |= marker == DQT
        position = start + int.from_bytes(data[start : start + 2], "big")
    return len(data), late_tables


def without_traces(segments: Sequence[Segment]) -> list[Segment]:
    """Header segments without the small pictures of the photo as it was, and without pointers to further pictures."""
    return [cleaned for segment in segments if (cleaned := _without_trace(segment)) is not None]


def _without_trace(segment: Segment) -> Segment | None:
    marker, payload = segment.marker, segment.payload
    starts = {APP0: b"JFXX\x00", APP2: b"MPF\x00", APP11: metadata.JUMBF, APP1: metadata.EXTENDED_XMP}
    if marker in starts and payload.startswith(starts[marker]):
        return None
    if marker == APP0 and payload[:5] == b"JFIF\x00" and len(payload) > 14:
        return Segment(marker, payload[:12] + b"\x00\x00")  # thumbnail of 0 by 0 pixels
    if marker == APP1 and payload.startswith(b"Exif\x00"):
        return Segment(marker, metadata.exif_without_thumbnail(payload))
    if marker == APP1 and payload.startswith(b"http://ns.adobe.com/xap/1.0/\x00"):
        return Segment(marker, metadata.xmp_without_extension(metadata.xmp_without_thumbnails(payload)))
    signature = b"Photoshop 3.0\x00"
    if marker == APP13 and payload.startswith(signature):
        return Segment(marker, signature + metadata.irb_without_thumbnails(payload[len(signature) :]))
    return segment


def with_metadata(encoded: bytes, segments: Sequence[Segment]) -> bytes:
    """A newly encoded JPEG with the metadata of another one, without its traces; what tells the colours is its own."""
    fresh = JpegFile(encoded)
    kept = [s for s in without_traces(segments) if s.is_metadata and s.marker != APP14]
    has_jfif = any(s.marker == APP0 for s in kept)
    own = [s for s in fresh.segments if not (s.marker == APP0 and has_jfif)]
    colour = [s for s in own if s.is_metadata]
    coding = [s for s in own if not s.is_metadata]
    # A JFIF segment stands first in a file; the marker of Adobe, which tells CMYK from YCCK, may stand anywhere.
    parts = [*kept, *colour] if has_jfif else [*colour, *kept]
    return b"\xff\xd8" + b"".join(s.encode() for s in (*parts, *coding)) + fresh.scans
