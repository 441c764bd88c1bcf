"""JPEG files by the block: outside the hole, the coefficients of the source are kept.

A JPEG that is decoded and encoded again changes nearly everywhere, even with the tables of the source. `splice` changes the
8x8 blocks that the hole touches and no other: it reads the quantised DCT coefficients (with jpeglib, that is libjpeg), brings the
touched blocks to samples, puts the filled pixels in, transforms and quantises them with the tables of the source, and
writes all coefficients back. Inside a touched block, the samples outside the hole start from the coefficients of the
source too, so they change by no more than the quantisation of their block. Work grows with the hole, besides one pass
of entropy decoding and coding.

Guarantee: coefficients of untouched blocks are identical. Decoded pixels are identical beyond one chroma sample around the
touched blocks: a decoder interpolates subsampled chroma from the neighbouring block.

Names follow ITU-T T.81: frame (SOF), scan (SOS), MCU, quantisation table (DQT).
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jpeglib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from objremove import metadata
from objremove.types import AnyArray, Mask

_SOI, _EOI, _SOS, _DQT, _DHT, _DRI, _COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xFE
_APP0, _APP1, _APP2, _APP13, _APP14 = 0xE0, 0xE1, 0xE2, 0xED, 0xEE
_FRAMES = {*range(0xC0, 0xD0)} - {_DHT, 0xC8, 0xCC}
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # not stuffing, not a restart, not a fill byte
_BLOCKS_AT_ONCE = 4096
# Natural index of each coefficient in file order: diagonals, up on the even ones and down on the odd ones.
_ZIGZAG = np.array(sorted(range(64), key=lambda i: (i // 8 + i % 8, i % 8 if (i // 8 + i % 8) % 2 == 0 else i // 8)))
# sRGB to YCbCr as JFIF 1.02 has it: one row a component, and what is added to it.
_YCC = np.array([[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]])
_YCC_OFFSET = np.array([0.0, 128.0, 128.0])


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
        return _APP0 <= self.marker <= 0xEF or self.marker == _COM


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
            if marker == _SOS:
                break
            stop = start + int.from_bytes(data[start : start + 2], "big")
            self.segments.append(Segment(marker, data[start + 2 : stop]))
            position = stop
        end, self._late_tables = _end_of_picture(data, match.start())
        self.scans, self.trailer = data[match.start() : end], data[end:]

    @cached_property
    def frame(self) -> Segment:
        """The SOF segment."""
        frames = [segment for segment in self.segments if segment.marker in _FRAMES]
        if len(frames) != 1 or len(frames[0].payload) < 6:
            raise Unspliceable("no frame header")
        return frames[0]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) as stored."""
        return int.from_bytes(self.frame.payload[1:3], "big"), int.from_bytes(self.frame.payload[3:5], "big")

    @cached_property
    def components(self) -> list[Component]:
        """The components of the frame in file order."""
        body = self.frame.payload[6:]
        return [Component(body[i], body[i + 1] >> 4, body[i + 1] & 15, body[i + 2]) for i in range(0, len(body), 3)]

    @cached_property
    def tables(self) -> dict[int, NDArray[np.uint16]]:
        """Quantisation tables by number, each (8, 8), row = vertical frequency."""
        tables: dict[int, NDArray[np.uint16]] = {}
        for segment in self.segments:
            body = segment.payload if segment.marker == _DQT else b""
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
                if s.marker == _APP14 and s.payload[:5] == b"Adobe" and len(s.payload) > 11
            ),
            None,
        )
        count = len(self.components)
        if count == 1:
            return "L"
        if count == 4:
            return "YCCK" if transform == 2 else "CMYK"
        if any(s.marker == _APP0 and s.payload[:5] == b"JFIF\x00" for s in self.segments):
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
        names = {_BASELINE: "", _EXTENDED: "", _PROGRESSIVE: ""}
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
        if marker == _EOI:
            return start, late_tables
        late_tables |= marker == _DQT
        position = start + int.from_bytes(data[start : start + 2], "big")
    return len(data), late_tables


def without_traces(segments: Sequence[Segment]) -> list[Segment]:
    """Header segments without the small pictures of the photo as it was, and without pointers to further pictures."""
    return [cleaned for segment in segments if (cleaned := _without_trace(segment)) is not None]


def _without_trace(segment: Segment) -> Segment | None:
    marker, payload = segment.marker, segment.payload
    if (marker, payload[:5]) == (_APP0, b"JFXX\x00") or (marker, payload[:4]) == (_APP2, b"MPF\x00"):
        return None
    if marker == _APP0 and payload[:5] == b"JFIF\x00" and len(payload) > 14:
        return Segment(marker, payload[:12] + b"\x00\x00")  # thumbnail of 0 by 0 pixels
    if marker == _APP1 and payload.startswith(b"Exif\x00"):
        return Segment(marker, metadata.exif_without_thumbnail(payload))
    if marker == _APP1 and payload.startswith(b"http://ns.adobe.com/xap/1.0/\x00"):
        return Segment(marker, metadata.xmp_without_thumbnails(payload))
    signature = b"Photoshop 3.0\x00"
    if marker == _APP13 and payload.startswith(signature):
        return Segment(marker, signature + metadata.irb_without_thumbnails(payload[len(signature) :]))
    return segment


def with_metadata(encoded: bytes, segments: Sequence[Segment]) -> bytes:
    """A newly encoded JPEG with the metadata of another one, without its traces; what tells the colours is its own."""
    fresh = JpegFile(encoded)
    kept = [s for s in without_traces(segments) if s.is_metadata and s.marker != _APP14]
    has_jfif = any(s.marker == _APP0 for s in kept)
    own = [s for s in fresh.segments if not (s.marker == _APP0 and has_jfif)]
    colour = [s for s in own if s.is_metadata]
    coding = [s for s in own if not s.is_metadata]
    # A JFIF segment stands first in a file; the marker of Adobe, which tells CMYK from YCCK, may stand anywhere.
    parts = [*kept, *colour] if has_jfif else [*colour, *kept]
    return b"\xff\xd8" + b"".join(s.encode() for s in (*parts, *coding)) + fresh.scans


def reencode(source: JpegFile, image: Image.Image, quality: int | None) -> bytes:
    """A plain encoding of the stored frame with the source's metadata, for what cannot be spliced.

    Sampling is the source's where Pillow has it (4:4:4, 4:2:2, 4:2:0); without a quality, so are the quantisation tables.
    """
    components = source.components
    options: dict[str, Any] = {"quality": quality}
    if quality is None:
        numbers = list(dict.fromkeys(component.table for component in components))
        options = {"qtables": [source.tables[number].ravel().tolist() for number in numbers]}
    if len(components) == 3:
        options["subsampling"] = {(1, 2): 1, (2, 2): 2}.get(source.largest, 0)
    target = io.BytesIO()
    image.save(target, "JPEG", **options)
    return with_metadata(target.getvalue(), source.segments)


def splice(source: JpegFile, channels: AnyArray, hole: Mask) -> bytes:
    """The source's file with new content in the hole.

    Args:
        source: the file to keep.
        channels: (H, W, 3) RGB, or (H, W, 4) CMYK inks for a file of four components, uint8, in the stored frame. Only
            what lies in the hole is read.
        hole: (H, W) bool in the stored frame.

    Returns:
        A sequential JPEG (a progressive one becomes baseline, which keeps all coefficients) with the source's tables, sampling and
        metadata, without thumbnails.

    Raises:
        Unspliceable: for arithmetic coding and other rarities, and where libjpeg fails on damaged scans.
    """
    source.check_spliceable()
    try:
        return _spliced(source, channels, hole)
    except OSError as error:  # of jpeglib, without a number, or of the system, with one
        reason = f"no room for temporary files ({error.strerror})" if error.errno else "damaged scans"
        raise Unspliceable(reason) from None


def _spliced(source: JpegFile, channels: AnyArray, hole: Mask) -> bytes:
    planes = _read_coefficients(source)
    matrix, offset = _colour_matrix(source.colour)
    tall, wide = source.largest
    for index, (component, plane) in enumerate(zip(source.components, planes, strict=True)):
        step = (tall // component.vertical, wide // component.horizontal)
        table = source.tables[component.table].astype(np.float32)
        _fill_blocks(plane, table, channels, hole, step, matrix[index], float(offset[index]))
    return _assemble(source, planes)


def touched_blocks(hole: Mask, footprint: tuple[int, int]) -> Mask:
    """Which blocks of `footprint` = (rows, columns) pixels hold a pixel of the hole: bool (blocks down, blocks across)."""
    (tall, wide), (height, width) = footprint, hole.shape
    padded = np.pad(hole, ((0, -height % tall), (0, -width % wide)))
    rows = np.logical_or.reduce(padded.reshape(-1, tall, padded.shape[1]), axis=1)  # contiguous first, hence fast
    touched: Mask = np.logical_or.reduce(rows.reshape(len(rows), -1, wide), axis=2)
    return touched


def _colour_matrix(colour: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows and offsets that bring RGB (or, for four components, Pillow's CMYK inks) to the stored components."""
    matrix, offset = np.eye(4), np.zeros(4)
    if colour in (
        "L",
        "YCC",
        "YCCK",
    ):  # the YCC of a YCCK file is that of the inks: Adobe stores inks inverted, and so does YCCK
        matrix[:3, :3], offset[:3] = _YCC, _YCC_OFFSET
    if colour == "CMYK":
        matrix, offset = -np.eye(4), np.full(4, 255.0)
    if colour == "YCCK":
        matrix[3, 3], offset[3] = -1.0, 255.0
    width = 4 if colour in ("CMYK", "YCCK") else 3
    return matrix[:, :width].astype(np.float32), offset.astype(np.float32)


def _dct_matrix() -> NDArray[np.float32]:
    """The orthonormal 8-point DCT-II; T.81 A.3.3 has the same scale."""
    frequency, position = np.mgrid[:8, :8]
    scale = np.where(frequency == 0, np.sqrt(0.125), 0.5)
    matrix: NDArray[np.float64] = scale * np.cos((2 * position + 1) * frequency * np.pi / 16)
    return matrix.astype(np.float32)


_DCT = _dct_matrix()


def _fill_blocks(
    plane: NDArray[np.int16],
    table: NDArray[np.float32],
    channels: AnyArray,
    hole: Mask,
    step: tuple[int, int],
    weights: NDArray[np.float32],
    offset: float,
) -> None:
    """Exchange the blocks of one component that the hole touches; `step` = pixels (down, across) under one sample."""
    (down, across), (height, width) = step, hole.shape
    blocks = np.argwhere(touched_blocks(hole, (8 * down, 8 * across)))
    for start in range(0, len(blocks), _BLOCKS_AT_ONCE):
        block_rows, block_columns = blocks[start : start + _BLOCKS_AT_ONCE].T
        # Beyond the photo's edge the last pixel is repeated, as encoders do, so that the fill does not ring against old padding.
        rows = np.minimum(block_rows[:, None] * 8 * down + np.arange(8 * down), height - 1)[:, :, None]
        columns = np.minimum(block_columns[:, None] * 8 * across + np.arange(8 * across), width - 1)[:, None, :]
        inside = hole[rows, columns].astype(np.float32)
        fill = (channels[rows, columns].astype(np.float32) @ weights + offset) * inside
        samples = (-1, 8, down, 8, across)
        covered, filled = inside.reshape(samples).mean(axis=(2, 4)), fill.reshape(samples).mean(axis=(2, 4))
        known = _DCT.T @ (plane[block_rows, block_columns] * table) @ _DCT + 128
        fresh = np.rint(_DCT @ (known * (1 - covered) + filled - 128) @ _DCT.T / table)
        plane[block_rows, block_columns] = np.clip(fresh, -1023, 1023)  # what baseline Huffman coding can hold


def _read_coefficients(source: JpegFile) -> list[NDArray[np.int16]]:
    """Quantised coefficients of each component, (blocks down, blocks across, 8, 8)."""
    file = _coefficient_file(source, source.components, [None] * len(source.components))
    file.content = b"\xff\xd8" + b"".join(s.encode() for s in source.segments if not s.is_metadata) + source.scans
    file.load()
    return [file.Y, file.Cb, file.Cr, file.K][: len(source.components)]


def _assemble(source: JpegFile, planes: Sequence[NDArray[np.int16]]) -> bytes:
    """The file again: the source's header without its Huffman tables, and new scans with their own."""
    header = [s for s in without_traces(source.segments) if s.marker not in (_DHT, _DRI, *_FRAMES)]
    wide_table = any(int(table.max()) > 255 for table in source.tables.values())
    marker = _EXTENDED if wide_table or source.frame.marker == _EXTENDED else _BASELINE
    # jpeglib writes up to three components together; four go one by one, each as a scan of its own (T.81, 4.8.1).
    whole = [source.components] if len(planes) <= 3 else [[component] for component in source.components]
    parts = [b"\xff\xd8", *(s.encode() for s in header), Segment(marker, source.frame.payload).encode()]
    first = 0
    for components in whole:
        parts.append(_scan(source, components, planes[first : first + len(components)]))
        first += len(components)
    return b"".join([*parts, b"\xff\xd9"])


def _scan(source: JpegFile, components: Sequence[Component], planes: Sequence[NDArray[np.int16]]) -> bytes:
    """Huffman tables and one scan that holds `planes`, without the EOI; component identifiers are the source's."""
    file = _coefficient_file(source, components, planes)
    with tempfile.TemporaryDirectory(prefix="objremove-") as folder:
        path = Path(folder) / "scan.jpg"
        file.write_dct(str(path), flags=["+OPTIMIZE_CODING"])
        written = JpegFile(path.read_bytes())
    tables = b"".join(s.encode() for s in written.segments if s.marker == _DHT)
    header = 4 + int.from_bytes(written.scans[2:4], "big") - 2
    selectors = bytearray(written.scans[:header])
    for index, component in enumerate(components):
        selectors[5 + 2 * index] = component.identifier
    return tables + bytes(selectors) + written.scans[header:-2]


def _coefficient_file(
    source: JpegFile, components: Sequence[Component], planes: Sequence[NDArray[np.int16] | None]
) -> jpeglib.DCTJPEG:
    """jpeglib's file object made from the header that is parsed here.

    `jpeglib.read_dct` would decode all scans once more to learn the same, and collects markers in a global array of 50.
    Colour space and tables only fill the header that jpeglib writes, of which nothing but scans and Huffman tables is used.
    """
    alone = len(components) == 1
    spaces = {1: jpeglib.Colorspace.JCS_GRAYSCALE, 3: jpeglib.Colorspace.JCS_YCbCr, 4: jpeglib.Colorspace.JCS_CMYK}
    height, width = source.samples(components[0]) if alone else source.size
    factors = [(1, 1)] if alone else [(c.vertical, c.horizontal) for c in components]
    luma, blue, red, black = [*planes, None, None, None][:4]
    return jpeglib.DCTJPEG(
        path=None,
        content=None,
        height=height,
        width=width,
        block_dims=np.array([source.grid(c) for c in components], dtype=np.int32),
        samp_factor=np.array(factors, dtype=np.int32),
        jpeg_color_space=spaces[len(components)],
        num_scans=1,
        markers=None,
        huffmans=None,
        progressive_mode=False,
        Y=luma,
        Cb=blue,
        Cr=red,
        K=black,
        qt=None if luma is None else np.ones((1, 8, 8), dtype=np.uint16),
        quant_tbl_no=None if luma is None else np.zeros(len(components), dtype=np.int16),
    )
