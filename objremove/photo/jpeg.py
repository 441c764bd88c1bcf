"""JPEG files by the block: outside the hole, the coefficients of the source are kept.

A JPEG that is decoded and encoded again changes nearly everywhere, even with the tables of the source. `splice` changes the
8x8 blocks that the hole touches and no other: it reads the quantised DCT coefficients (with jpeglib, that is libjpeg), brings the
touched blocks to samples, puts the filled pixels in, transforms and quantises them with the tables of the source, and
writes all coefficients back. Inside a touched block, the samples outside the hole start from the coefficients of the
source too, so they change by no more than the quantisation of their block. Work grows with the hole, besides one pass
of entropy decoding and coding.

Guarantee: coefficients of untouched blocks are identical. Decoded pixels are identical beyond one chroma sample around the
touched blocks: a decoder interpolates subsampled chroma from the neighbouring block.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jpeglib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from objremove.photo.jpeg_file import (
    BASELINE,
    DHT,
    DRI,
    EXTENDED,
    FRAMES,
    Component,
    JpegFile,
    Segment,
    Unspliceable,
    with_metadata,
    without_traces,
)
from objremove.types import AnyArray, Mask

_BLOCKS_AT_ONCE = 4096
# sRGB to YCbCr as JFIF 1.02 has it: one row a component, and what is added to it.
_YCC = np.array([[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]])
_YCC_OFFSET = np.array([0.0, 128.0, 128.0])


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
    header = [s for s in without_traces(source.segments) if s.marker not in (DHT, DRI, *FRAMES)]
    wide_table = any(int(table.max()) > 255 for table in source.tables.values())
    marker = EXTENDED if wide_table or source.frame.marker == EXTENDED else BASELINE
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
    tables = b"".join(s.encode() for s in written.segments if s.marker == DHT)
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
