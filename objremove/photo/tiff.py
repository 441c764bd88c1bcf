"""TIFF where Pillow falls short: 16-bit colour, which it cuts to 8 bits, and EXIF directories in compressed files.

16-bit colour is read and written with tifffile, and read with OpenCV where tifffile has no codec.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from objremove.errors import PhotoError
from objremove.photo import metadata
from objremove.types import AnyArray

_BITS, _PHOTOMETRIC, _SAMPLES, _RGB = 258, 262, 277, 2
_PART_OF_MORE, _EXTRA, _SUB_PAGES, _DNG = 254, 338, 330, 50706
_PREMULTIPLIED = 1
_RESOURCES = 34377
LAYERS, CREDENTIALS = 37724, 52545
"""Tags of Photoshop's layers and of content credentials (C2PA)."""

_MODES = {3: "RGB;16", 4: "RGBA;16"}
# Codecs that tifffile has without further packages, by the names that Pillow gives them.
_COMPRESSIONS = {"raw": None, "tiff_adobe_deflate": "zlib", "tiff_deflate": "zlib"}


def deep_mode(image: Image.Image) -> str | None:
    """`RGB;16` or `RGBA;16` where a TIFF that Pillow opened has 16-bit colour, else None."""
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (1,))
    if tags.get(_PHOTOMETRIC) != _RGB or max(bits) != 16:
        return None
    return _MODES.get(tags.get(_SAMPLES, 1))


def has_deep_inks(image: Image.Image) -> bool:
    """Whether a TIFF that Pillow opened has 16-bit CMYK, which it cuts to 8 bits."""
    return image.mode == "CMYK" and max(getattr(image, "tag_v2", {}).get(_BITS, (8,))) > 8


def is_raw(image: Image.Image, data: bytes) -> bool:
    """Whether a TIFF that Pillow opened is a camera's raw file: its first page is a preview, what the sensor saw lies elsewhere."""
    tags: Any = getattr(image, "tag_v2", {})
    is_preview = bool(int(tags.get(_PART_OF_MORE, 0)) & 1)
    return _DNG in tags or (is_preview and _SUB_PAGES in tags) or data[8:12] == b"CR\x02\x00"


def lost_channels(image: Image.Image) -> tuple[str, ...]:
    """What Pillow does not give of the channels of a TIFF that it opened."""
    tags: Any = getattr(image, "tag_v2", {})
    count, extra = int(tags.get(_SAMPLES, 1)), tuple(tags.get(_EXTRA, ()))
    deep = deep_mode(image)
    given = count if deep else len(image.getbands())
    lost = (f"{count - given} further channels (selections, masks) are not kept",) if count > given else ()
    if not deep and _PREMULTIPLIED in extra and image.mode == "RGBA":
        return (*lost, "premultiplied transparency is not kept: colours that are partly transparent change slightly")
    return lost


def extra_samples(data: bytes) -> tuple[int, ...]:
    """What a TIFF says of the channels beyond its colours: 0 nothing, 1 alpha that the colours are multiplied by, 2 alpha."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return tuple(int(kind) for kind in file.pages.first.extrasamples)


def without_traces(exif: Image.Exif) -> Image.Exif:
    """Tags without what shows the photo as it was: layers, credentials, thumbnails among Photoshop's resources."""
    if not {LAYERS, CREDENTIALS, _RESOURCES} & set(exif):
        return exif
    cleaned = Image.Exif()
    cleaned.load(exif.tobytes())
    for tag in (LAYERS, CREDENTIALS):
        cleaned.pop(tag, None)
    if isinstance(cleaned.get(_RESOURCES), bytes):
        cleaned[_RESOURCES] = metadata.irb_without_thumbnails(cleaned[_RESOURCES])
    return cleaned


def read_deep(data: bytes, mode: str) -> AnyArray:
    """(H, W, C) uint16 samples of the first page; raises `PhotoError` where neither library can decode them."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            samples = page.asarray()
            if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and samples.ndim == 3:
                samples = np.moveaxis(samples, 0, -1)
    except ImportError:  # a codec of the package imagecodecs, such as LZW
        samples = _read_with_opencv(data, mode)
    except (ValueError, IndexError, RuntimeError, tifffile.TiffFileError) as error:
        raise PhotoError(f"truncated or damaged TIFF ({error}); get a fresh copy") from None
    if samples.dtype != np.uint16 or samples.shape[2:] != ({"RGB;16": 3, "RGBA;16": 4}[mode],):
        raise PhotoError("a TIFF with an unusual layout of samples; save it as plain 16-bit RGB first")
    return np.ascontiguousarray(samples)


def _read_with_opencv(data: bytes, mode: str) -> AnyArray:
    import cv2

    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3:
        raise PhotoError("a TIFF whose compression cannot be decoded here; pip install imagecodecs")
    samples: AnyArray = image[..., [2, 1, 0, 3] if mode == "RGBA;16" else [2, 1, 0]]
    return samples


def with_tags(data: bytes, tags: Mapping[int, Any]) -> bytes:
    """The TIFF with more tags in its first directory; those that it has already stay as they are.

    Args:
        data: a classic TIFF of one page.
        tags: values by tag number as Pillow has them; a directory, such as EXIF's or GPS's, is a dict.
    """
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    entries = _entries(data, start, order)
    added = TiffImagePlugin.ImageFileDirectory_v2(prefix=data[:2])
    for tag, value in tags.items():
        if tag not in entries:
            added[tag] = value
    data += bytes(len(data) % 2)
    block = added.tobytes(len(data))
    merged = sorted((_entries(block, 0, order) | entries).items())
    data, start = data + block + bytes(len(block) % 2), len(data) + len(block) + len(block) % 2
    directory = struct.pack(order + "H", len(merged)) + b"".join(entry for _, entry in merged) + bytes(4)
    return data[:4] + struct.pack(order + "I", start) + data[8:] + directory


def _entries(data: bytes, start: int, order: str) -> dict[int, bytes]:
    """The 12-byte entries of a directory by tag."""
    (count,) = struct.unpack_from(order + "H", data, start)
    starts = range(start + 2, start + 2 + 12 * count, 12)
    entries = [data[position : position + 12] for position in starts]
    return {struct.unpack_from(order + "H", entry)[0]: entry for entry in entries}


def encode_deep(
    samples: AnyArray, compression: str | None, icc: bytes, dpi: tuple[float, float] | None, extra: tuple[int, ...] = ()
) -> tuple[bytes, tuple[str, ...]]:
    """A TIFF of (H, W, 3 or 4) uint16 samples and what could not be kept of the source's compression; `extra`: see `extra_samples`."""
    import tifffile

    known = (compression or "raw") in _COMPRESSIONS
    target = io.BytesIO()
    tifffile.imwrite(
        target,
        samples,
        photometric="rgb",
        compression=_COMPRESSIONS[compression or "raw"] if known else "zlib",
        predictor=compression not in (None, "raw"),
        iccprofile=icc or None,
        resolution=dpi,
        resolutionunit="INCH" if dpi else None,
        extrasamples=(extra or ("unassalpha",)) if samples.shape[2] == 4 else None,
        metadata=None,
        software=False,
    )
    warnings = () if known else (f"compression {compression} of a 16-bit TIFF became deflate",)
    return target.getvalue(), warnings
