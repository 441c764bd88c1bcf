"""Photo: any file, image, array or tensor in; the same kind of thing out, with nothing changed outside the hole."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, TiffImagePlugin

from objremove.errors import PhotoError, UsageError
from objremove.photo import Photo, metadata, png, write_atomic
from objremove.photo.modes import Layout, black_ratio, to_inks
from objremove.photo.read import stored, upright
from objremove.photo.write import fit
from objremove.result import Result

ORIENTATION = 0x0112


def noise(height, width, channels=3, dtype=np.uint8, seed=0):
    values = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width, channels), endpoint=True)
    return values.astype(dtype)


def image_of(mode, height, width):
    """A PIL image of any mode, its content random."""
    if mode == "1":
        return Image.fromarray(noise(height, width, 1)[..., 0] > 127)
    if mode == "I;16":
        return Image.fromarray(noise(height, width, 1, np.uint16)[..., 0])
    channels = len(Image.new(mode, (1, 1)).getbands())
    image = Image.frombytes(mode, (width, height), noise(height, width, channels).tobytes())
    if mode in ("P", "PA"):
        image.putpalette(noise(1, 256, 3, seed=1).tobytes())
    return image


def save(image, kind, **options):
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def box(size, *where):
    hole = np.zeros(size, dtype=np.bool_)
    hole[where] = True
    return hole


def edited(photo, hole, colour=(10, 200, 90)):
    pixels = photo.pixels.copy()
    pixels[hole] = np.array(colour) * (257 if pixels.dtype == np.uint16 else 1)
    return pixels


LOSSLESS = [
    *(("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    *(("TIFF", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16")),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "1", {"compression": "group4"}),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    *(("BMP", mode, {}) for mode in ("1", "L", "P", "RGB")),
    *(("GIF", mode, {}) for mode in ("L", "P")),
    *(("WEBP", mode, {"lossless": True, "exact": True}) for mode in ("RGB", "RGBA")),
    *(("PPM", mode, {}) for mode in ("L", "RGB")),
]


@pytest.mark.parametrize(("kind", "mode", "options"), LOSSLESS)
@settings(max_examples=6, deadline=None)
@given(height=st.integers(1, 24), width=st.integers(1, 24), data=st.data())
def test_lossless_formats_keep_every_sample_outside_the_hole(kind, mode, options, height, width, data):
    source = save(image_of(mode, height, width), kind, **options)
    photo = Photo.open(source)
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    hole = np.array(bits, dtype=np.bool_).reshape(height, width)

    encoded = photo.encode(edited(photo, hole), hole)

    if not hole.any():
        assert encoded.data == source
    with Image.open(io.BytesIO(source)) as before, Image.open(io.BytesIO(encoded.data)) as after:
        assert (after.format, after.size, after.mode) == (before.format, before.size, before.mode)
        np.testing.assert_array_equal(np.array(after)[~hole], np.array(before)[~hole])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I;16"])
@settings(max_examples=6, deadline=None)
@given(height=st.integers(1, 12), width=st.integers(1, 12), seed=st.integers(0, 99))
def test_images_keep_mode_size_and_samples(mode, height, width, seed):
    image = image_of(mode, height, width)
    before = np.array(image)
    photo = Photo.open(image)
    hole = np.random.default_rng(seed).random((height, width)) > 0.5
    result = photo.like_source(edited(photo, hole), hole)
    assert (result.mode, result.size) == (image.mode, image.size)
    np.testing.assert_array_equal(np.array(result)[~hole], before[~hole])
    np.testing.assert_array_equal(np.array(image), before)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
@pytest.mark.parametrize("dtype", ["uint8", ">u2", "uint16", "float32", "float64", "float16"])
def test_arrays_keep_shape_dtype_and_values(shape, dtype):
    rng = np.random.default_rng(3)
    kind = np.dtype(dtype)
    array = (
        rng.random(shape).astype(kind) if kind.kind == "f" else rng.integers(0, np.iinfo(kind).max, shape).astype(kind)
    )
    before = array.copy()
    photo = Photo.open(array)
    hole = box((5, 7), slice(1, 3), slice(2, 5))
    result = photo.like_source(edited(photo, hole, (0, 0, 0)), hole)
    assert (result.shape, result.dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(result[~hole], array[~hole])
    assert not result[..., :3][hole].any() if array.ndim == 3 else not result[hole].any()
    np.testing.assert_array_equal(array, before)
    result[...] = 0
    np.testing.assert_array_equal(array, before)  # no shared memory


def test_a_mask_like_array_stays_boolean():
    photo = Photo.open(np.eye(4, dtype=bool))
    result = photo.like_source(edited(photo, box((4, 4), 0), (255, 255, 255)), box((4, 4), 0))
    assert result.dtype == np.bool_
    assert result[0].all()
    np.testing.assert_array_equal(result[1:], np.eye(4, dtype=bool)[1:])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tensors_keep_shape_dtype_and_values(dtype, channels):
    torch = pytest.importorskip("torch")
    kind = getattr(torch, dtype)
    tensor = (
        torch.rand(channels, 6, 5).to(kind)
        if kind.is_floating_point
        else torch.randint(0, 256, (channels, 6, 5)).to(kind)
    )
    before = tensor.clone()
    photo = Photo.open(tensor)
    hole = box((6, 5), slice(2, 4))
    result = photo.like_source(edited(photo, hole), hole)
    assert (result.dtype, result.shape, result.device) == (tensor.dtype, tensor.shape, tensor.device)
    assert torch.equal(result[:, ~torch.from_numpy(hole)], before[:, ~torch.from_numpy(hole)])
    assert torch.equal(tensor, before)


def test_pixels_are_read_only_and_strange_edits_are_refused():
    photo = Photo.open(noise(4, 4))
    assert not photo.pixels.flags.writeable
    with pytest.raises(ValueError, match="hole"):
        photo.encode(photo.pixels, np.zeros((4, 5), dtype=bool))
    with pytest.raises(ValueError, match="pixels"):
        photo.encode(photo.pixels.astype(np.uint16), np.zeros((4, 4), dtype=bool))
    with pytest.raises(ValueError, match="alpha"):
        photo.encode(photo.pixels, np.zeros((4, 4), dtype=bool), alpha=np.zeros((4, 4), dtype=np.uint8))


# Sixteen bits


def deep_png(colour_type, channels, extra=b""):
    samples = noise(9, 11, channels, np.uint16)
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in samples)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 11, 9, 16, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""), samples


@pytest.mark.parametrize(("colour_type", "channels", "mode"), [(2, 3, "RGB;16"), (4, 2, "LA;16"), (6, 4, "RGBA;16")])
def test_sixteen_bit_png_stays_sixteen_bit(colour_type, channels, mode):
    source, samples = deep_png(colour_type, channels)
    photo = Photo.open(source)
    assert (photo.mode, photo.pixels.dtype) == (mode, np.uint16)
    colours = samples[..., : 1 if channels == 2 else 3]
    np.testing.assert_array_equal(photo.pixels, np.broadcast_to(colours, photo.pixels.shape))
    hole = box((9, 11), slice(2, 5), slice(3, 8))
    again = Photo.open(photo.encode(edited(photo, hole, (7, 7, 7)), hole).data)
    assert again.mode == mode
    np.testing.assert_array_equal(again.pixels[~hole], photo.pixels[~hole])
    assert (again.pixels[hole] == 7 * 257).all()
    if photo.alpha is not None:
        np.testing.assert_array_equal(again.alpha, samples[..., -1])


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_sixteen_bit_tiff_stays_sixteen_bit(channels, compression):
    import tifffile

    samples = noise(9, 11, channels, np.uint16)
    target = io.BytesIO()
    extra = ["unassalpha"] if channels == 4 else None
    tifffile.imwrite(target, samples, photometric="rgb", compression=compression, extrasamples=extra, iccprofile=b"icc")
    photo = Photo.open(target.getvalue())
    np.testing.assert_array_equal(photo.pixels, samples[..., :3])
    hole = box((9, 11), slice(2, 5))
    data = photo.encode(edited(photo, hole), hole).data
    again = Photo.open(data)
    np.testing.assert_array_equal(again.pixels[~hole], photo.pixels[~hole])
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.pages.first.tags[34675].value == b"icc"
        assert file.pages.first.compression == (8 if compression else 1)


def test_a_transparent_colour_of_sixteen_bits_stays_transparent():
    marked = (1000, 2000, 65535)
    source, samples = deep_png(2, 3, extra=png.Chunk(b"tRNS", struct.pack(">3H", *marked)).encode())
    photo = Photo.open(source)
    hole = box((9, 11), slice(2, 5))
    encoded = photo.encode(edited(photo, hole), hole)
    assert encoded.warnings == ()
    assert [chunk.data for chunk in png.chunks(encoded.data) if chunk.name == b"tRNS"] == [struct.pack(">3H", *marked)]
    np.testing.assert_array_equal(Photo.open(encoded.data).pixels[~hole], samples[~hole])


# Palette, transparency, ink


def hidden_red(mode):
    """Half transparent, half opaque: what is transparent is red in the file, what is opaque blue."""
    clear = np.zeros((32, 64), dtype=np.bool_)
    clear[:, :32] = True
    colours = np.where(clear[..., None], np.uint8([255, 0, 0]), np.uint8([0, 0, 255]))
    if mode == "RGB":
        return clear, save(Image.fromarray(colours), "PNG", transparency=(255, 0, 0))
    if mode == "P":
        image = Image.fromarray(np.where(clear, np.uint8(1), np.uint8(0)), "P")
        image.putpalette([0, 0, 255, 255, 0, 0])
        return clear, save(image, "PNG", transparency=1)
    if mode == "RGB;16":
        rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in colours.astype(np.uint16) * 257)
        header = struct.pack(">IIBBBBB", 64, 32, 16, 2, 0, 0, 0)
        mark = struct.pack(">3H", 65535, 0, 0)
        parts = {b"IHDR": header, b"tRNS": mark, b"IDAT": zlib.compress(rows), b"IEND": b""}
        return clear, b"\x89PNG\r\n\x1a\n" + b"".join(png.Chunk(*part).encode() for part in parts.items())
    alpha = np.where(clear, np.uint8(0), np.uint8(255))
    return clear, save(Image.fromarray(np.dstack([colours, alpha])), "PNG")


@pytest.mark.parametrize("mode", ["RGBA", "P", "RGB", "RGB;16"])
@pytest.mark.parametrize("target", ["jpg", "ppm", "webp", "tiff", "bmp", "gif"])
def test_hidden_colours_stay_hidden_in_every_format(mode, target):
    clear, source = hidden_red(mode)
    photo = Photo.open(source)
    hole = box((32, 64), slice(0, 4), slice(40, 44))
    encoded = photo.encode(edited(photo, hole, (0, 0, 255)), hole, format=target, quality=100)
    with Image.open(io.BytesIO(encoded.data)) as image:
        seen = np.array(image.convert("RGBA")).astype(int)
    at_edge = box((32, 64), slice(None), slice(28, 36))  # lossy formats share colour between neighbours
    if target in ("jpg", "ppm", "bmp"):
        assert any("laid on white" in warning for warning in encoded.warnings)
        assert np.abs(seen[clear & ~at_edge][:, :3] - 255).max() <= 3
    else:
        assert not any("laid on white" in warning for warning in encoded.warnings)
        assert (seen[clear][:, 3] == 0).all()
    assert (seen[~clear][:, 3] == 255).all()
    assert np.abs(seen[~clear & ~at_edge] - (0, 0, 255, 255)).max() <= 6


@settings(max_examples=30, deadline=None)
@given(colour=st.integers(0, 65535), cover=st.integers(0, 65535))
def test_half_transparent_pixels_are_laid_on_white_without_overflow(colour, cover):
    layers = np.full((1, 1, 4), colour, dtype=np.uint16)
    layers[..., 3] = cover
    samples, layout, _ = fit(layers, Layout("RGBA;16"), "JPEG")
    expected = (colour * cover + 65535 * (65535 - cover)) / 65535 / 257
    assert layout.mode == "RGB"
    assert np.abs(samples - expected).max() <= 0.51


def test_nothing_is_said_of_a_transparency_that_hides_nothing():
    photo = Photo.open(np.dstack([noise(4, 4), np.full((4, 4), 255, dtype=np.uint8)]))
    assert photo.encode(photo.pixels, box((4, 4), 0), format="jpg").warnings == ()


def test_palette_takes_its_nearest_opaque_colour_and_keeps_the_transparent_index():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 255, 0, 10, 10, 10, 250, 0, 0, 0, 0, 250])
    image.putpixel((3, 3), 0)
    photo = Photo.open(save(image, "PNG", transparency=0))
    assert photo.alpha is not None
    assert photo.alpha[3, 3] == 0
    hole = box((4, 4), slice(2, 4))
    pixels = edited(photo, hole, (0, 255, 0))  # the colour of the transparent entry itself
    with Image.open(io.BytesIO(photo.encode(pixels, hole).data)) as after:
        indices = np.array(after)
        assert after.info["transparency"] == 0
    assert indices[3, 3] == 0  # was transparent, stays so
    assert (indices[2] != 0).all()  # was opaque, stays so
    assert (indices[:2] == 1).all()


def test_alpha_changes_in_the_hole_only_when_it_is_given():
    photo = Photo.open(image_of("RGBA", 6, 6))
    hole = box((6, 6), slice(0, 2))
    kept = photo.like_source(edited(photo, hole), hole)
    np.testing.assert_array_equal(np.array(kept)[..., 3], photo.alpha)
    given_alpha = photo.like_source(edited(photo, hole), hole, np.full((6, 6), 77, dtype=np.uint8))
    assert (np.array(given_alpha)[hole, 3] == 77).all()
    np.testing.assert_array_equal(np.array(given_alpha)[~hole], np.array(kept)[~hole])


@settings(max_examples=30, deadline=None)
@given(ratio=st.floats(0, 1), seed=st.integers(0, 1000))
def test_inks_show_the_colour_that_was_asked_for(ratio, seed):
    colours = noise(1, 64, 3, seed=seed)[0]
    inks = to_inks(colours, ratio)
    shown = np.array(Image.frombytes("CMYK", (64, 1), inks.tobytes()).convert("RGB"))[0]
    assert np.abs(shown.astype(int) - colours).max() <= 2


def test_black_is_made_as_it_is_made_around_the_hole():
    colours = noise(40, 40).reshape(-1, 3)
    for ratio in (0.0, 0.4, 1.0):
        inks = to_inks(colours, ratio).reshape(40, 40, 4)
        assert black_ratio(inks, box((40, 40), slice(10, 20), slice(10, 20))) == pytest.approx(ratio, abs=0.03)


# Orientation and metadata


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_upright_agrees_with_pillow_and_back(orientation):
    pixels = noise(4, 6)
    image = Image.fromarray(pixels)
    image.getexif()[ORIENTATION] = orientation
    np.testing.assert_array_equal(upright(pixels, orientation), np.array(ImageOps.exif_transpose(image)))
    np.testing.assert_array_equal(stored(upright(pixels, orientation), orientation), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_the_fill_lands_where_it_was_seen(kind, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    blank = Image.new("RGB", (64, 48), (128, 128, 128))
    source = save(blank, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    photo = Photo.open(source)
    assert photo.size == ((64, 48) if orientation >= 5 else (48, 64))
    hole = box(photo.size, slice(0, 16), slice(16, 32))
    data = photo.encode(edited(photo, hole, (255, 0, 0)), hole).data

    after = Photo.open(data)
    red = after.pixels[..., 0].astype(int) - after.pixels[..., 1] > 100
    np.testing.assert_array_equal(red[2:14, 18:30], True)
    assert not red[~hole].any()
    with Image.open(io.BytesIO(data)) as image:
        tag = image.getexif().get(ORIENTATION, 1)
    assert tag == (orientation if kind == "JPEG" else 1)  # a spliced JPEG keeps its stored frame


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_image_comes_back_in_its_own_frame(orientation):
    image = image_of("RGB", 8, 12)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image.info["exif"] = exif.tobytes()
    photo = Photo.open(image)
    result = photo.like_source(photo.pixels, box(photo.size, 0))
    assert result.size == image.size
    np.testing.assert_array_equal(np.array(result), np.array(image))


def exif_with_thumbnail(order=">"):
    """EXIF with a maker note that has a fixed place, and a JPEG thumbnail in IFD1."""
    thumbnail, note = b"\xff\xd8THUMBNAIL\xff\xd9", b"MakerNote!"

    def directory(fields, following):
        packed = b"".join(struct.pack(order + "HHII", *field) for field in fields)
        return struct.pack(order + "H", len(fields)) + packed + struct.pack(order + "I", following)

    note_at = 8 + (2 + 12 * 2 + 4)
    sub_at = note_at + len(note)
    second_at = sub_at + 2 + 12 + 4
    thumbnail_at = second_at + 2 + 12 * 2 + 4
    orientation = 6 << 16 if order == ">" else 6
    first = directory([(ORIENTATION, 3, 1, orientation), (0x8769, 4, 1, sub_at)], second_at)
    sub = directory([(0x927C, 7, len(note), note_at)], 0)
    second = directory([(0x0201, 4, 1, thumbnail_at), (0x0202, 4, 1, len(thumbnail))], 0)
    header = (b"MM" if order == ">" else b"II") + struct.pack(order + "HI", 42, 8)
    return b"Exif\x00\x00" + header + first + note + sub + second + thumbnail


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_thumbnail_goes_and_the_maker_note_stays_in_place(order):
    exif = exif_with_thumbnail(order)
    cleaned = metadata.exif_without_thumbnail(exif)
    assert b"THUMBNAIL" not in cleaned
    assert cleaned.index(b"MakerNote!") == exif.index(b"MakerNote!")
    tags = Image.Exif()
    tags.load(cleaned)
    assert not tags.get_ifd(ExifTags.IFD.IFD1)
    assert tags[ORIENTATION] == 6
    tags.load(metadata.exif_upright(cleaned))
    assert tags[ORIENTATION] == 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 120), st.sampled_from("<>"))
def test_damaged_exif_never_raises(junk, position, order):
    exif = exif_with_thumbnail(order)
    damaged = exif[:position] + junk + exif[position + len(junk) // 2 :]
    for change in (metadata.exif_without_thumbnail, metadata.exif_upright):
        assert isinstance(change(damaged), bytes)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_no_written_file_has_the_thumbnail(kind):
    source = save(image_of("RGB", 32, 32), kind, exif=exif_with_thumbnail())
    assert b"THUMBNAIL" in source
    photo = Photo.open(source)
    hole = box(photo.size, slice(4, 8), slice(4, 8))
    assert b"THUMBNAIL" not in photo.encode(edited(photo, hole), hole).data
    assert b"THUMBNAIL" not in photo.encode(edited(photo, hole), hole, format="tiff").data
    assert b"THUMBNAIL" not in photo.like_source(edited(photo, hole), hole)


def test_photoshop_and_xmp_thumbnails_go():
    block = b"8BIM" + struct.pack(">HBBI", 1036, 0, 0, 5) + b"small\x00"
    other = b"8BIM" + struct.pack(">HBBI", 1005, 0, 0, 2) + b"ok"
    assert metadata.irb_without_thumbnails(other + block + other) == other + other
    xmp = b"<a/><xmp:Thumbnails><rdf:Alt>base64</rdf:Alt></xmp:Thumbnails><b/>"
    cleaned = metadata.xmp_without_thumbnails(xmp)
    assert b"base64" not in cleaned
    assert len(cleaned) == len(xmp)


ICC = b"a colour profile"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_exif_icc_xmp_and_density_are_kept(kind):
    exif = Image.Exif()
    exif[0x010F] = "Camera maker"
    exif.get_ifd(0x8769)[0x9003] = "2026:11:20 10:00:00"
    options = {"icc_profile": ICC, "exif": exif, "xmp": XMP, "dpi": (200, 200)}
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode())
        options["pnginfo"] = text
    if kind == "TIFF":
        exif[700] = options.pop("xmp")
        options["exif"] = exif.tobytes()
    photo = Photo.open(save(image_of("RGB", 32, 32), kind, **options))
    hole = box(photo.size, slice(4, 8), slice(4, 8))
    for target in (kind, "png", "tiff", "jpg", "webp"):
        encoded = photo.encode(edited(photo, hole), hole, format=target)
        with Image.open(io.BytesIO(encoded.data)) as image:
            image.load()
            assert image.info["icc_profile"] == ICC
            assert image.getexif()[0x010F] == "Camera maker"
            assert image.getexif().get_ifd(0x8769)[0x9003] == "2026:11:20 10:00:00"
            assert image.info["xmp"].rstrip(b"\x00") == XMP
            if kind not in ("WEBP", "AVIF") and target not in ("webp", "WEBP"):
                assert image.info["dpi"] == pytest.approx((200, 200), rel=1e-3)


def test_png_chunks_are_copied():
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "someone")
    text.add_text("Prompt", "long " * 400, zip=True)
    text.add(b"gAMA", struct.pack(">I", 45455))
    text.add(b"prVt", b"private", after_idat=True)
    photo = Photo.open(save(image_of("P", 8, 8), "PNG", pnginfo=text))
    hole = box(photo.size, 0)
    data = photo.encode(edited(photo, hole), hole).data
    assert b"prVtprivate" in data
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.text == {"Author": "someone", "Prompt": "long " * 400}
        assert image.info["gamma"] == 0.45455


# Pictures of the photo as it was


THUMBNAIL = b"\xff\xd8THUMBNAIL\xff\xd9"


def resources(number, content):
    return b"8BIM" + struct.pack(">HBBI", number, 0, 0, len(content)) + content + bytes(len(content) % 2)


def unkept(photo):
    """What is said to go where a file is written; nothing is said where it comes back as it was."""
    assert photo.warnings == ()
    assert photo.encode(photo.pixels, box(photo.size, slice(0), slice(0))).warnings == ()
    mask = box(photo.size, slice(4, 8), slice(4, 8))
    result = Result(photo, photo.pixels, photo.alpha, mask)
    assert result.warnings == photo.unkept
    assert not set(result.encode()[1]) & set(result.warnings), "each is said once"
    assert replace(result, mask=mask & False).warnings == ()
    hole = box(photo.size, slice(4, 8), slice(4, 8))
    return photo.encode(edited(photo, hole), hole).warnings


def every_file(photo, *formats):
    hole = box(photo.size, slice(4, 8), slice(4, 8))
    return [photo.encode(edited(photo, hole), hole, format=target).data for target in (None, *formats)]


def test_layers_and_thumbnails_of_a_tiff_go_into_no_file():
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, kind, content in (
        (34377, 1, resources(1005, b"resolution") + resources(1036, THUMBNAIL)),
        (37724, 7, b"Adobe Photoshop Document Data Block\0LAYERS"),
        (52545, 7, b"CREDENTIALS"),
    ):
        tags.tagtype[tag], tags[tag] = kind, content
    source = save(image_of("RGB", 32, 32), "TIFF", tiffinfo=tags)
    assert all(word in source for word in (b"THUMBNAIL", b"LAYERS", b"CREDENTIALS", b"resolution"))
    photo = Photo.open(source)
    assert [warning.split(" are not kept")[0] for warning in unkept(photo)] == [
        "content credentials (C2PA)", "Photoshop's layers",
    ]  # fmt: skip
    same, *others = every_file(photo, "jpg", "png", "webp", "avif")
    assert b"resolution" in same
    for data in (same, *others):
        assert not any(word in data for word in (b"THUMBNAIL", b"LAYERS", b"CREDENTIALS"))


def test_credentials_and_extended_xmp_of_a_jpeg_go():
    boxes = b"JP" + struct.pack(">HI", 1, 1) + b"jumb c2pa.thumbnail.claim.jpeg" + THUMBNAIL
    longer = (
        b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + struct.pack(">II", 9, 0) + b'<GImage:Data="ORIGINAL"/>'
    )
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmpNote:HasExtendedXMP="' + b"A" * 32 + b'"/>'
    plain = save(image_of("RGB", 32, 32), "JPEG", xmp=packet)
    segments = b"".join(
        b"\xff" + marker + struct.pack(">H", 2 + len(body)) + body
        for marker, body in ((b"\xeb", boxes), (b"\xe1", longer))
    )
    photo = Photo.open(plain[:2] + segments + plain[2:])
    assert [warning.split(" not kept")[0] for warning in unkept(photo)] == [
        "content credentials (C2PA) are", "extended XMP is",
    ]  # fmt: skip
    hole = box(photo.size, slice(4, 8), slice(4, 8))
    for data in (photo.encode(edited(photo, hole), hole, quality=quality).data for quality in (None, 80)):
        assert not any(word in data for word in (b"THUMBNAIL", b"ORIGINAL", b"HasExtendedXMP"))
        assert b"adobe:ns:meta" in data


def raw_profile(name, content):
    digits = content.hex()
    lines = "\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))
    return f"\n{name}\n{len(content):8}\n{lines}\n"


TURNED_XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:tiff="t" tiff:Orientation="6"><xmp:Thumbnails>SMALL</xmp:Thumbnails></x:xmpmeta>'


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("Raw profile type exif", raw_profile("exif", exif_with_thumbnail())),
        ("Raw profile type APP1", raw_profile("generic", exif_with_thumbnail())),
        ("Raw profile type exif", raw_profile("exif", exif_with_thumbnail()[6:])),
        ("Raw profile type xmp", raw_profile("xmp", TURNED_XMP.encode())),
        ("Raw profile type 8bim", raw_profile("8bim", resources(1036, THUMBNAIL) + resources(1005, b"kept"))),
        ("XML:com.adobe.xmp", TURNED_XMP),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_metadata_that_a_png_has_as_text_is_turned_and_cleaned_too(key, text, packed):
    chunks = PngImagePlugin.PngInfo()
    (chunks.add_itxt if key.startswith("XML") else chunks.add_text)(key, text, zip=packed)
    photo = Photo.open(save(image_of("RGB", 20, 32), "PNG", pnginfo=chunks))
    hole = box(photo.size, slice(4, 8), slice(4, 8))
    data = photo.encode(edited(photo, hole), hole).data
    again = Photo.open(data)
    assert again.size == photo.size
    np.testing.assert_array_equal(again.pixels[~hole], photo.pixels[~hole])
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        known = repr((image.info, image.getexif().get(ORIENTATION), zlib.crc32(data)))
        unpacked = data + b"".join(
            bytes.fromhex(value.split("\n", 3)[3]) for value in image.text.values() if value.startswith("\n8bim")
        )
        assert not image.getexif().get_ifd(ExifTags.IFD.IFD1)
        assert image.getexif().get(ORIENTATION, 1) == 1
    assert not any(word in known.encode() + unpacked for word in (b"THUMBNAIL", b"SMALL", b'Orientation="6'))
    assert ("8bim" in key) == (b"kept" in unpacked)


def test_text_of_a_png_that_nobody_can_read_stays_as_it_is():
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"zTXt", b"Raw profile type exif\0\0no deflate")
    chunks.add(b"iTXt", b"XML:com.adobe.xmp\0\1")
    chunks.add_text("Raw profile type exif", "\nexif\n 12\nabcd\n")
    written = png.with_metadata(save(image_of("RGB", 20, 32), "PNG"), save(image_of("L", 1, 1), "PNG", pnginfo=chunks))
    assert all(word in written for word in (b"no deflate", b"XML:com.adobe.xmp", b"abcd"))


def test_parts_of_a_png_that_hang_on_its_pixels_go():
    chunks = PngImagePlugin.PngInfo()
    for name in (b"iDOT", b"mkBF", b"prVW", b"caBX", b"saFe"):
        chunks.add(name, b"THUMBNAIL")
    chunks.add(b"gAMA", struct.pack(">I", 45455))
    photo = Photo.open(save(image_of("RGB", 20, 32), "PNG", pnginfo=chunks))
    assert unkept(photo) == (
        "content credentials (C2PA) are not kept: they vouch for the photo as it was",
        "private parts of the PNG (mkBF, prVW) are not kept: they may show the photo as it was",
    )
    hole = box(photo.size, slice(4, 8), slice(4, 8))
    names = {chunk.name for chunk in png.chunks(photo.encode(edited(photo, hole), hole).data)}
    assert names == {b"IHDR", b"gAMA", b"saFe", b"IDAT", b"IEND"}


def test_credentials_of_a_webp_are_said_to_go():
    data = save(image_of("RGB", 20, 32), "WEBP")
    more = b"C2PA" + struct.pack("<I", 4) + b"cred"
    photo = Photo.open(data[:4] + struct.pack("<I", len(data) + len(more) - 8) + data[8:] + more)
    assert "content credentials (C2PA) are not kept: they vouch for the photo as it was" in unkept(photo)


WRONG_KIND = b"Exif\0\0II*\0" + struct.pack("<IHHHI4sI", 8, 1, ORIENTATION, 2, 4, b"six\0", 0)


@pytest.mark.parametrize("block", [b"Exif\0\0garbagegarba", WRONG_KIND], ids=["header", "kind"])
@pytest.mark.parametrize("target", ["tiff", "avif", "png", "webp", "jpg"])
def test_damaged_exif_is_dropped_at_most(target, block):
    plain = save(image_of("RGB", 32, 32), "JPEG")
    photo = Photo.open(plain[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(block)) + block + plain[2:])
    hole = box(photo.size, slice(4, 8), slice(4, 8))
    encoded = photo.encode(edited(photo, hole), hole, format=target)
    assert Photo.open(encoded.data).size == photo.size
    if target not in ("tiff", "avif"):
        assert not encoded.warnings


# Formats


def test_sixteen_bit_ppm_stays_sixteen_bit():
    samples = noise(12, 16, dtype=np.uint16)
    photo = Photo.open(b"P6\n# drawn\n16 12\n65535\n" + samples.astype(">u2").tobytes())
    assert (photo.mode, photo.warnings) == ("RGB;16", ())
    hole = box(photo.size, slice(4, 8), slice(4, 8))
    again = Photo.open(photo.encode(edited(photo, hole), hole).data)
    assert (again.format, again.mode) == ("PPM", "RGB;16")
    np.testing.assert_array_equal(again.pixels[~hole], samples[~hole])
    with pytest.raises(PhotoError, match="truncated PPM"):
        Photo.open(b"P6 16 12 65535\n" + bytes(99))
    ten = Photo.open(b"P6 2 1 1023\n" + bytes(12))
    assert ten.warnings == ("10 bits a channel: read as 8",)


@pytest.mark.parametrize(("dtype", "extra", "kept"), [
    (np.uint8, (0,), "1 further channels (selections, masks) are not kept"),
    (np.uint8, (0, 0), "2 further channels (selections, masks) are not kept"),
    (np.uint8, (1,), "premultiplied transparency is not kept: colours that are partly transparent change slightly"),
    (np.uint8, (2,), ""), (np.uint16, (0,), ""), (np.uint16, (1,), ""), (np.uint16, (2,), ""),
])  # fmt: skip
def test_further_channels_of_a_tiff_are_kept_or_said_to_go(dtype, extra, kept):
    samples, target = noise(20, 24, 3 + len(extra), dtype), io.BytesIO()
    tifffile.imwrite(target, samples, photometric="rgb", extrasamples=extra, compression="zlib")
    photo = Photo.open(target.getvalue())
    assert unkept(photo) == ((kept,) if kept else ())
    hole = box(photo.size, slice(4, 8), slice(4, 8))
    page = tifffile.TiffFile(io.BytesIO(photo.encode(edited(photo, hole), hole).data)).pages[0]
    if not kept:
        assert tuple(map(int, page.extrasamples)) == extra
        np.testing.assert_array_equal(page.asarray()[~hole], samples[~hole])


def test_pixels_that_look_like_the_mark_of_a_raw_file_are_pixels():
    image = Image.new("RGB", (24, 20), (67, 82, 90))  # "CR"
    assert Photo.open(
        cv2.imencode(".tif", np.asarray(image)[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes()
    )


def test_large_sixteen_bit_tiffs_with_alpha_are_written(monkeypatch):
    samples, target = noise(20, 24, 4, np.uint16), io.BytesIO()
    tifffile.imwrite(target, samples, photometric="rgb", extrasamples=["unassalpha"])
    photo = Photo.open(target.getvalue())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    hole = box(photo.size, slice(4, 8), slice(4, 8))
    assert photo.encode(edited(photo, hole), hole).data


def test_a_raw_file_is_not_replaced_by_its_preview():
    target = io.BytesIO()
    with tifffile.TiffWriter(target) as file:
        file.write(noise(20, 24), photometric="rgb", subfiletype=1, subifds=1)
        file.write(noise(200, 240, 1, np.uint16)[..., 0], photometric=32803)
    with pytest.raises(PhotoError, match="a camera's raw file, of which only a preview"):
        Photo.open(target.getvalue())


@pytest.mark.parametrize(
    ("primaries", "transfer", "says"), [(9, 16, "PQ"), (9, 18, "HLG"), (12, 13, None), (1, 13, "")]
)
def test_colours_that_avif_describes_by_number(primaries, transfer, says):
    data = save(image_of("RGB", 32, 32), "AVIF")
    place = data.index(b"colrnclx") + 8
    data = data[:place] + struct.pack(">HH", primaries, transfer) + data[place + 4 :]
    if says:
        with pytest.raises(PhotoError, match=says):
            Photo.open(data)
    else:
        wide = ("colours of a wide gamut without a profile are taken for sRGB",)
        assert Photo.open(data).warnings == (wide if says is None else ())


def test_another_format_on_request():
    photo = Photo.open(save(image_of("RGBA", 20, 20), "PNG"))
    hole = box(photo.size, slice(2, 5))
    jpeg = photo.encode(edited(photo, hole), hole, format=".JPG")
    assert jpeg.format == "JPEG"
    assert jpeg.warnings == ("JPEG has no transparency: the photo was laid on white",)
    webp = photo.encode(edited(photo, hole), hole, format="webp")
    assert (webp.format, webp.warnings) == ("WEBP", ())
    with pytest.raises(UsageError, match="unknown file format"):
        photo.encode(photo.pixels, hole, format="xcf")
    assert Photo.open(noise(3, 3)).encode(noise(3, 3), box((3, 3), 0)).format == "PNG"


def test_lossy_webp_says_that_it_was_encoded_anew():
    photo = Photo.open(save(image_of("RGB", 20, 20), "WEBP", quality=80))
    hole = box(photo.size, slice(2, 5))
    assert "outside the hole" in photo.encode(edited(photo, hole), hole).warnings[0]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP", "MPO", "AVIF"])
def test_only_the_first_frame_is_kept_and_that_is_said(kind):
    frames = [Image.new("RGB", (24, 24), colour) for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    photo = Photo.open(save(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert photo.warnings == ("3 frames: only the first is kept",)
    hole = box(photo.size, slice(0, 4))
    encoded = photo.encode(edited(photo, hole, (200, 0, 0)), hole)
    assert encoded.format == ("JPEG" if kind == "MPO" else kind)
    with Image.open(io.BytesIO(encoded.data)) as image:
        assert getattr(image, "n_frames", 1) == 1
        assert np.abs(np.array(image.convert("RGB")).astype(int) - (200, 0, 0)).max() <= 3


def test_heic_needs_its_extra_and_works_with_it(monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    target = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), (120, 130, 140))).save(target, quality=95)
    photo = Photo.open(target.getvalue())
    assert (photo.format, photo.size) == ("HEIF", (48, 64))
    hole = box(photo.size, slice(0, 16))
    encoded = photo.encode(edited(photo, hole), hole)
    assert encoded.format == "HEIF"
    assert np.abs(Photo.open(encoded.data).pixels[32:].astype(int) - (120, 130, 140)).max() <= 4
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match=r"pip install objremove\[heif\]"):
        Photo.open(target.getvalue())


def test_a_path_gives_an_upright_image(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = tmp_path / "turned.png"
    path.write_bytes(save(image_of("L", 6, 9), "PNG", exif=exif))
    photo = Photo.open(path)
    result = photo.like_source(photo.pixels, box(photo.size, 0))
    assert (result.mode, result.size) == ("L", (6, 9))
    assert result.getexif()[ORIENTATION] == 1


# Bad input


def one_line_error(source, match, **options):
    with pytest.raises(PhotoError, match=match) as caught:
        Photo.open(source, **options)
    assert "\n" not in str(caught.value)


def test_missing_empty_folder_and_no_picture(tmp_path):
    one_line_error(tmp_path / "nowhere.jpg", "no such file")
    one_line_error(tmp_path, "is a folder")
    (tmp_path / "empty.jpg").touch()
    one_line_error(tmp_path / "empty.jpg", "empty")
    (tmp_path / "notes.jpg").write_text("just text, not a picture")
    one_line_error(str(tmp_path / "notes.jpg"), "not a picture")
    one_line_error(b"", "empty")
    one_line_error(3.5, "cannot be read from float")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "AVIF", "TIFF", "PPM"])
@pytest.mark.parametrize("part", [0.04, 0.5, 0.95])
def test_truncated_files(kind, part):
    source = save(image_of("RGB", 64, 64), kind)
    one_line_error(source[: int(len(source) * part)], "damaged|truncated|not a picture")


def tiff_of(samples, photometric):
    import tifffile

    target = io.BytesIO()
    tifffile.imwrite(target, samples, photometric=photometric)
    return target.getvalue()


@pytest.mark.parametrize(
    ("samples", "photometric", "match"),
    [
        (noise(6, 5, 3).astype(np.float32), "rgb", "32-bit float samples, 3 a pixel"),
        (noise(6, 5)[..., 0].astype(np.float32), "minisblack", "32-bit float samples, 1 a pixel"),
        (noise(6, 5)[..., 0].astype(np.uint32) * 70_000, "minisblack", "32-bit integer"),
        (noise(6, 5)[..., 0].astype(np.int16) - 300, "minisblack", "16-bit signed integer"),
        (noise(6, 5, 3), "cielab", "CIELAB"),
        (noise(6, 5, 5, np.uint16), "rgb", "16-bit integer samples, 5 a pixel"),
    ],
)
def test_a_tiff_of_pixels_that_are_not_read_is_not_called_damaged(samples, photometric, match):
    one_line_error(
        tiff_of(samples, photometric), f"{match}.*not supported; convert it to RGB or grey with 8 or 16 bits"
    )


@pytest.mark.parametrize(
    ("marker", "depth", "match"), [(0xC1, 12, "12 bits a channel"), (0xC3, 8, "lossless"), (0xF7, 8, "lossless")]
)
def test_a_jpeg_of_pixels_that_are_not_read_is_not_called_damaged(marker, depth, match):
    data = bytearray(save(image_of("RGB", 16, 16), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 1], data[frame + 4] = marker, depth
    one_line_error(bytes(data), f"{match}.*not supported")
    one_line_error(b"Pf\n2 2\n-1.0\n" + bytes(16), "float.*not supported")


def test_sixteen_bits_of_ink_are_read_as_eight_and_that_is_said():
    photo = Photo.open(tiff_of(noise(6, 5, 4, np.uint16), "separated"))
    assert photo.mode == "CMYK"
    assert photo.warnings == ("16 bits a channel: read as 8",)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on tags
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_tiff_header_is_one_error(data):
    source = bytearray(tiff_of(noise(6, 5, 3).astype(np.float32), "rgb"))
    for _ in range(data.draw(st.integers(1, 4))):
        source[data.draw(st.integers(0, len(source) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PhotoError):
        Photo.open(bytes(source))


def test_truncated_sixteen_bit_files():
    source, _ = deep_png(2, 3)
    one_line_error(source[:-40], "truncated|damaged")


@pytest.mark.parametrize("missing", [12, 5])
def test_a_png_without_its_end_is_truncated_although_its_pixels_are_there(missing):
    one_line_error(save(image_of("RGB", 8, 8), "PNG")[:-missing], "truncated PNG")
    one_line_error(deep_png(2, 3)[0][:-missing], "truncated PNG")


def test_a_bomb_is_refused_before_it_is_decoded():
    header, _ = deep_png(2, 3)
    huge = bytearray(header)
    huge[16:24] = struct.pack(">II", 60_000, 60_000)
    huge[29:33] = struct.pack(">I", zlib.crc32(bytes(huge[12:29])))
    one_line_error(bytes(huge), "3600 megapixels.*limit of 250.*--max-megapixels")
    pillows_own = Image.MAX_IMAGE_PIXELS
    one_line_error(save(image_of("RGB", 50, 50), "PNG"), "--max-megapixels", max_megapixels=0.001)
    one_line_error(Image.new("L", (50, 50)), "--max-megapixels", max_megapixels=0.001)
    assert pillows_own == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros((3, 5, 5), np.uint8), "shape"),
        (np.zeros((2, 2, 2, 3), np.uint8), "shape"),
        (np.zeros((5, 5, 3), np.int64), "dtype"),
        (np.full((5, 5, 3), 3.0), "0..1"),
        (np.full((5, 5, 3), np.nan), "0..1"),
    ],
)
def test_arrays_that_are_no_photo(array, match):
    one_line_error(array, match)


def test_images_that_are_no_photo():
    one_line_error(Image.new("RGB", (0, 4)), "no pixels")
    one_line_error(Image.new("F", (4, 4)), "mode F")
    one_line_error(Image.new("I", (4, 4), 70_000), "32-bit")


# Writing


def test_write_atomic_replaces_and_keeps_permissions(tmp_path):
    target = tmp_path / "photo.jpg"
    write_atomic(target, b"first")
    target.chmod(0o640)
    write_atomic(target, b"second")
    assert target.read_bytes() == b"second"
    assert target.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["photo.jpg"]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    target = tmp_path / "photo.jpg"
    target.write_bytes(b"the old photo")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(PhotoError, match="No space left"):
        write_atomic(target, b"the new photo")
    assert target.read_bytes() == b"the old photo"
    assert os.listdir(tmp_path) == ["photo.jpg"]


def test_an_interrupt_leaves_no_draft(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "photo.jpg", b"data")
    assert os.listdir(tmp_path) == []


def test_targets_that_cannot_be_written(tmp_path):
    with pytest.raises(PhotoError, match="cannot be written"):
        write_atomic(tmp_path / "no" / "folder.jpg", b"data")
    (tmp_path / "folder").mkdir()
    with pytest.raises(PhotoError, match="folder: "):
        write_atomic(tmp_path / "folder", b"data")
    assert [path.name for path in Path(tmp_path).iterdir()] == ["folder"]
