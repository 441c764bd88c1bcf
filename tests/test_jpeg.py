"""The block splice: what the hole does not touch keeps its coefficients, whatever the sampling, coding and colours of the file.

Coefficients are compared through `jpeglib.read_dct`, which knows nothing of the code under test.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jpeglib
import numpy as np
import pytest
from PIL import Image

from objremove.photo import Photo, jpeg
from objremove.photo.jpeg_file import JpegFile

SIZE = (77, 101)  # odd: the last MCU row and column are padded


def scene(size=SIZE, channels=3):
    """A smooth, coloured picture with an edge in it, (H, W, channels) uint8."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    planes = [
        120 + 60 * np.sin(x / (7 + c)) + 50 * np.cos(y / (9 - c)) + 25 * (x > size[1] / 2) for c in range(channels)
    ]
    return np.clip(np.stack(planes, axis=2), 0, 255).astype(np.uint8)


def encode(pixels, mode=None, **options):
    target = io.BytesIO()
    image = Image.fromarray(pixels) if mode is None else Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes())
    image.save(target, "JPEG", **{"quality": 90, **options})
    return target.getvalue()


def encode_with_factors(tmp_path: Path, factors, size=SIZE):
    """A YCbCr file of any sampling, which Pillow cannot make: one (vertical, horizontal) pair a component."""
    image = jpeglib.from_spatial(scene(size))
    image.samp_factor = factors
    image.write_spatial(str(tmp_path / "factors.jpg"))
    return (tmp_path / "factors.jpg").read_bytes()


def coefficients(data, tmp_path):
    path = tmp_path / "read.jpg"
    path.write_bytes(data)
    file = jpeglib.read_dct(str(path))
    return [plane for plane in (file.Y, file.Cb, file.Cr, file.K) if plane is not None]


def hole_in(size, rows, columns):
    hole = np.zeros(size, dtype=np.bool_)
    hole[rows, columns] = True
    return hole


CORNER = (slice(50, 77), slice(61, 101))
MIDDLE = (slice(21, 30), slice(33, 41))
FILES = {
    "4:4:4": lambda folder: encode(scene(), subsampling=0),
    "4:2:2": lambda folder: encode(scene(), subsampling=1),
    "4:2:0": lambda folder: encode(scene(), subsampling=2),
    "4:4:0": lambda folder: encode_with_factors(folder, [[2, 1], [1, 1], [1, 1]]),
    "4:1:1": lambda folder: encode_with_factors(folder, [[1, 4], [1, 1], [1, 1]]),
    "progressive": lambda folder: encode(scene(), progressive=True),
    "restarts": lambda folder: encode(scene(), restart_marker_rows=1),
    "grey": lambda folder: encode(scene()[..., 0]),
    "RGB": lambda folder: encode(scene(), keep_rgb=True),
    "CMYK": lambda folder: encode(scene(channels=4), mode="CMYK"),
    "low quality": lambda folder: encode(scene(), quality=12),
}


@pytest.mark.parametrize("where", [CORNER, MIDDLE], ids=["corner", "middle"])
@pytest.mark.parametrize("name", FILES)
def test_untouched_blocks_keep_their_coefficients(name, where, tmp_path):
    source = FILES[name](tmp_path)
    photo = Photo.open(source)
    hole = hole_in(photo.size, *where)
    pixels = photo.pixels.copy()
    pixels[hole] = (250, 20, 90)

    encoded = photo.encode(pixels, hole)

    assert encoded.warnings == ()
    before, after = coefficients(source, tmp_path), coefficients(encoded.data, tmp_path)
    file = JpegFile(source)
    tall, wide = file.largest
    for component, old, new in zip(file.components, before, after, strict=True):
        footprint = (8 * tall // component.vertical, 8 * wide // component.horizontal)
        touched = jpeg.touched_blocks(hole, footprint)
        assert old.shape == new.shape
        np.testing.assert_array_equal(old[~touched], new[~touched])
    assert any((old != new).any() for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("name", FILES)
def test_decoded_pixels_change_only_around_the_touched_mcus(name, tmp_path):
    source = FILES[name](tmp_path)
    photo = Photo.open(source)
    hole = hole_in(photo.size, *MIDDLE)
    pixels = photo.pixels.copy()
    pixels[hole] = 255 - pixels[hole]

    after = Photo.open(photo.encode(pixels, hole).data)

    tall, wide = JpegFile(source).largest
    mcus = jpeg.touched_blocks(hole, (8 * tall, 8 * wide))
    near = np.kron(mcus, np.ones((8 * tall, 8 * wide), dtype=bool))[: SIZE[0], : SIZE[1]]
    ring = 2  # chroma samples are interpolated from one neighbour, which is up to two pixels off
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    near[max(rows[0] - ring, 0) : rows[-1] + ring + 1, max(columns[0] - ring, 0) : columns[-1] + ring + 1] = True
    changed = (after.pixels != photo.pixels).any(axis=2)
    assert after.mode == photo.mode
    assert changed.any()
    assert not (changed & ~near).any()


@pytest.mark.parametrize("name", ["4:4:4", "4:2:0", "4:1:1", "progressive", "grey", "RGB", "CMYK"])
def test_the_fill_arrives_in_the_hole(name, tmp_path):
    photo = Photo.open(FILES[name](tmp_path))
    hole = hole_in(photo.size, slice(16, 64), slice(32, 96))
    pixels = photo.pixels.copy()
    pixels[hole] = (90, 90, 90) if name == "grey" else (200, 120, 60)
    after = Photo.open(photo.encode(pixels, hole).data)
    inner = hole_in(photo.size, slice(32, 48), slice(64, 80))  # whole MCUs of every sampling, away from the edge
    assert np.abs(after.pixels[inner].astype(int) - pixels[inner]).max() <= 6


def test_outside_samples_of_touched_blocks_lose_little():
    """The rest of a touched block starts from the source's coefficients, not from decoded pixels: there is no second loss."""
    photo = Photo.open(encode(scene(), subsampling=2, quality=75))
    hole = hole_in(photo.size, slice(30, 32), slice(30, 32))
    after = Photo.open(photo.encode(photo.pixels, hole).data)
    assert np.abs(after.pixels.astype(int) - photo.pixels)[~hole].max() <= 8


def test_a_photo_smaller_than_a_block():
    photo = Photo.open(encode(np.full((1, 1, 3), 200, dtype=np.uint8)))
    after = Photo.open(photo.encode(np.zeros_like(photo.pixels), np.ones((1, 1), dtype=bool)).data)
    assert after.size == (1, 1)
    assert after.pixels.max() <= 4


@pytest.mark.parametrize("transform", [b"\x02", b"\x01"], ids=["YCCK", "unknown, which libjpeg takes for it"])
def test_ycck_black_is_spliced_too(tmp_path, transform):
    """Pillow cannot write YCCK, so the Adobe marker of a CMYK file is set to it: the components are then YCC of the inks, and K."""
    plain = encode(scene(channels=4), mode="CMYK")
    marker = plain.index(b"Adobe")
    source = plain[: marker + 11] + transform + plain[marker + 12 :]
    photo = Photo.open(source)
    hole = hole_in(photo.size, slice(16, 64), slice(32, 96))
    pixels = photo.pixels.copy()
    pixels[hole] = (30, 60, 20)
    after = Photo.open(photo.encode(pixels, hole).data)
    inner = hole_in(photo.size, slice(24, 56), slice(40, 88))
    assert after.mode == "CMYK"
    assert np.abs(after.pixels[inner].astype(int) - pixels[inner]).max() <= 6
    old, new = coefficients(source, tmp_path)[3], coefficients(photo.encode(pixels, hole).data, tmp_path)[3]
    touched = jpeg.touched_blocks(hole, (8, 8))
    np.testing.assert_array_equal(old[~touched], new[~touched])
    assert (old[touched] != new[touched]).any()


def test_metadata_segments_are_carried_in_order():
    comment, unknown = b"by hand", b"\xff\xe9\x00\x0aPRIVATE!"
    source = encode(scene(), comment=comment, dpi=(300, 300), icc_profile=b"profile" * 20_000, xmp=b"<x/>")
    source = source[:2] + unknown + source[2:]
    photo = Photo.open(source)
    hole = hole_in(photo.size, *MIDDLE)
    data = photo.encode(photo.pixels, hole).data
    carried = [[s for s in JpegFile(file).segments if s.is_metadata] for file in (source, data)]
    assert carried[0] == carried[1]
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["comment"] == comment
        assert image.info["icc_profile"] == b"profile" * 20_000
        assert image.info["dpi"] == (300, 300)


def test_threads_do_not_meet():
    sources = [encode(np.roll(scene(), 5 * shift, axis=1), subsampling=shift % 3) for shift in range(12)]
    holes = hole_in(SIZE, *MIDDLE)

    def spliced(source):
        photo = Photo.open(source)
        return photo.encode(255 - photo.pixels, holes).data

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(spliced, sources)) == [spliced(source) for source in sources]


def test_more_markers_than_the_codec_can_count():
    source = encode(scene())
    source = source[:2] + b"\xff\xe9\x00\x04ab" * 80 + source[2:]
    photo = Photo.open(source)
    data = photo.encode(photo.pixels, hole_in(photo.size, *MIDDLE)).data
    assert data.count(b"\xff\xe9\x00\x04ab") == 80


def test_what_follows_the_picture_is_dropped_and_named():
    source = encode(scene())
    photo = Photo.open(source + b"MotionPhoto" * 9)
    encoded = photo.encode(photo.pixels, hole_in(photo.size, *MIDDLE))
    assert b"MotionPhoto" not in encoded.data
    assert "99 bytes behind the picture" in encoded.warnings[0]


def test_arithmetic_coding_is_encoded_anew_and_said(tmp_path):
    (tmp_path / "huffman.jpg").write_bytes(encode(scene()))
    file = jpeglib.read_dct(str(tmp_path / "huffman.jpg"))
    with jpeglib.version("turbo210"):
        file.write_dct(str(tmp_path / "arithmetic.jpg"), flags=["+ARITH_CODE"])
    source = (tmp_path / "arithmetic.jpg").read_bytes()
    if JpegFile(source).frame.marker < 0xC9:
        pytest.skip("this libjpeg writes no arithmetic coding")
    photo = Photo.open(source)
    encoded = photo.encode(photo.pixels, hole_in(photo.size, *MIDDLE))
    assert "arithmetic coding" in encoded.warnings[0]
    with Image.open(io.BytesIO(encoded.data)) as image, Image.open(io.BytesIO(source)) as original:
        assert image.quantization == original.quantization


@pytest.mark.parametrize("quality", [40, 98])
def test_an_explicit_quality_is_a_plain_encoding(quality):
    photo = Photo.open(encode(scene(), comment=b"kept"))
    encoded = photo.encode(photo.pixels, hole_in(photo.size, *MIDDLE), quality=quality)
    with (
        Image.open(io.BytesIO(encoded.data)) as image,
        Image.open(io.BytesIO(encode(scene(), quality=quality))) as plain,
    ):
        assert image.quantization == plain.quantization
        assert image.info["comment"] == b"kept"
