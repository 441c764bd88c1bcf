"""`Photo`: the pixels of a photo, and everything that its file carries besides them, for the way back.

    photo = Photo.open("photo.jpg")
    pixels = photo.pixels.copy()               # upright RGB; edit inside `hole` only
    encoded = photo.encode(pixels, hole)       # the same file with new content in the hole

Outside the hole the way back is exact wherever the format allows it: lossless formats get the source's own samples back, a JPEG
the coefficients of every block that the hole does not touch.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from objremove.arguments import check
from objremove.errors import PhotoError
from objremove.photo import jpeg, metadata, read
from objremove.photo.jpeg_file import JpegFile, Unspliceable
from objremove.photo.modes import merge, to_rgb
from objremove.photo.read import Decoded, stored, upright
from objremove.photo.write import Encoded, fit, format_name, own_format, to_image, write
from objremove.types import AnyArray, Mask, Pixels
from objremove.wording import counted

if TYPE_CHECKING:
    import torch

__all__ = ["Encoded", "Photo"]

_Kind = Literal["file", "bytes", "image", "array", "tensor"]


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo in memory.

    Attributes:
        pixels: (H, W, 3) RGB, uint8 or, for photos of 16 bits or floats, uint16; upright (EXIF orientation applied); not writable.
        alpha: (H, W) of the same dtype, or None for a photo without transparency; not writable.
        format: Pillow's name of the file format (`JPEG`, `PNG`, `TIFF`, ...), or None for arrays and images without one.
        mode: mode of the source's samples as in `objremove.photo.modes`: `1`, `L`, `P`, `RGBA`, `CMYK`, `RGB;16`, ...
        warnings: what of the source is not here, such as `3 frames: only the first is kept`.
    """

    pixels: Pixels
    alpha: AnyArray | None
    format: str | None
    mode: str
    warnings: tuple[str, ...]
    _decoded: Decoded = field(repr=False)
    _kind: _Kind = field(repr=False)
    _origin: Any = field(repr=False, default=None)

    @classmethod
    def open(
        cls,
        source: str | os.PathLike[str] | bytes | Image.Image | AnyArray | torch.Tensor,
        *,
        max_megapixels: float = 250.0,
    ) -> Photo:
        """Read a photo.

        Args:
            source: path of a file; its bytes; a PIL image; an array of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) in RGB
                order, uint8, uint16, bool or floats in 0..1; or a (C, H, W) tensor of 1, 3 or 4 channels, uint8 or floats
                in 0..1. It is never modified, and no result shares memory with it.
            max_megapixels: files and images with more pixels are refused, files before they are decoded.

        Raises:
            PhotoError: missing, empty, truncated, no picture, too large, a folder, or pixels of an unknown kind.
        """
        if isinstance(source, (str, os.PathLike)):
            path = Path(source)
            return cls._of(read.decode_file(read.read_path(path), str(path), max_megapixels), "file")
        if isinstance(source, (bytes, bytearray, memoryview)):
            return cls._of(read.decode_file(bytes(source), "input", max_megapixels), "bytes")
        if isinstance(source, Image.Image):
            return cls._of(_from_image(source, max_megapixels), "image", source.info.copy())
        if isinstance(source, np.ndarray):
            return cls._of(read.from_array(source), "array", (source.dtype, source.shape))
        if read.is_tensor(source):
            return cls._of(read.from_tensor(source), "tensor", (source.dtype, source.device))
        raise PhotoError(
            f"a photo cannot be read from {type(source).__name__}; pass a path, bytes, image, array or tensor"
        )

    @staticmethod
    def declared_pixels(source: Photo | str | os.PathLike[str] | bytes | Image.Image | AnyArray | torch.Tensor) -> int:
        """H x W of what `open` would read, as a file's header declares it: nothing is decoded.

        Raises:
            PhotoError: missing, empty, a folder, or no picture.
        """
        if isinstance(source, (str, os.PathLike)):
            source = read.identify(read.read_path(Path(source)), str(source))
        elif isinstance(source, (bytes, bytearray, memoryview)):
            source = read.identify(bytes(source), "input")
        if isinstance(source, Image.Image):
            return source.width * source.height
        if isinstance(source, Photo):
            return math.prod(source.pixels.shape[:2])
        if isinstance(source, np.ndarray):
            return math.prod(source.shape[:2])
        if read.is_tensor(source):
            return math.prod(source.shape[-2:])
        raise PhotoError(f"a {type(source).__name__} is no photo")

    @classmethod
    def _of(cls, decoded: Decoded, kind: _Kind, origin: Any = None) -> Photo:
        pixels, alpha = to_rgb(decoded.samples, decoded.layout)
        return cls(
            pixels=_frozen(pixels),
            alpha=None if alpha is None else _frozen(alpha),
            format=decoded.format,
            mode=decoded.layout.mode,
            warnings=decoded.warnings,
            _decoded=decoded,
            _kind=kind,
            _origin=origin,
        )

    @property
    def unkept(self) -> tuple[str, ...]:
        """What of the source's file no file that is written of it has, such as its content credentials."""
        return self._decoded.unkept

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), upright."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def encode(
        self,
        pixels: Pixels,
        hole: Mask,
        *,
        alpha: AnyArray | None = None,
        format: str | None = None,
        quality: int | None = None,
    ) -> Encoded:
        """The photo as a file, with `pixels` in the hole and itself elsewhere.

        Args:
            pixels: (H, W, 3) like `self.pixels`; read inside the hole only.
            hole: (H, W) bool, upright.
            alpha: (H, W) like `self.alpha`, read inside the hole only; None keeps the transparency.
            format: name or extension of another format, such as `png`; None keeps the source's (PNG for what had none).
            quality: 1..100 for lossy formats. For a JPEG that stays one, None splices blocks, and a number encodes the
                whole photo anew at that quality. Lossless formats take no notice.

        Returns:
            The file. It is the source's own, byte for byte, where the hole is empty and neither format nor quality change.

        Raises:
            PhotoError: the format cannot hold the photo.
            UsageError: an unknown format, or another quality.
        """
        self._check(pixels, hole, alpha)
        check("quality", quality, Integral, lambda value: 1 <= value <= 100, "1..100", optional=True)
        quality = None if quality is None else int(quality)
        check("format", format, str, lambda value: True, "a name such as png", optional=True)
        decoded, own = self._decoded, own_format(self.format)
        target = format_name(format) or own or "PNG"
        source = decoded.data if target == own else None
        if source is not None and quality is None and not hole.any():
            return Encoded(source, (), self.format or target)
        if target == "JPEG" and source is not None:
            encoded = self._encode_jpeg(source, pixels, hole, quality)
        else:
            samples = merge(decoded.samples, decoded.layout, pixels, hole, alpha)
            encoded = write(samples, decoded.layout, decoded.carried, target, source, quality)
        return replace(encoded, warnings=(*decoded.unkept, *encoded.warnings))

    def like_source(self, pixels: Pixels, hole: Mask, alpha: AnyArray | None = None) -> Any:
        """The photo with `pixels` in the hole, as the same kind of thing that `open` got.

        Returns:
            For an array one of its shape and dtype, for a tensor one of its shape, dtype and device, for bytes the encoded
            file, for a PIL image one of its mode, size and `info` (in its stored frame), for a path an upright PIL image in the
            mode of the file (8-bit RGB or RGBA for 16-bit colour, which PIL lacks). Outside the hole all samples are the source's.
        """
        self._check(pixels, hole, alpha)
        if self._kind == "bytes":
            return self.encode(pixels, hole, alpha=alpha).data
        samples = merge(self._decoded.samples, self._decoded.layout, pixels, hole, alpha)
        if self._kind == "array":
            dtype, shape = self._origin
            return samples.reshape(shape).astype(dtype, copy=False)
        if self._kind == "tensor":
            return _to_tensor(samples, *self._origin)
        if self._kind == "image":
            return self._to_source_image(samples)
        return self._to_upright_image(samples)

    def _check(self, pixels: AnyArray, hole: AnyArray, alpha: AnyArray | None) -> None:
        """Raise `ValueError` for arrays that do not belong to this photo: a mistake of the caller, not of a user."""
        if pixels.shape != self.pixels.shape or pixels.dtype != self.pixels.dtype:
            raise ValueError(
                f"pixels are {pixels.shape} {pixels.dtype}, the photo {self.pixels.shape} {self.pixels.dtype}"
            )
        if hole.shape != self.size or hole.dtype != np.bool_:
            raise ValueError(f"hole is {hole.shape} {hole.dtype}, expected {self.size} bool")
        if alpha is not None and (self.alpha is None or alpha.shape != self.size or alpha.dtype != self.alpha.dtype):
            raise ValueError("alpha does not have the shape and dtype of the photo's")

    def _encode_jpeg(self, source: bytes, pixels: Pixels, hole: Mask, quality: int | None) -> Encoded:
        """JPEG to JPEG in the stored frame: spliced, or encoded anew where a quality asks for it or splicing cannot be."""
        decoded = self._decoded
        samples: AnyArray = pixels  # what the blocks are made of; libjpeg's luma is computed there, for grey files too
        if decoded.layout.mode == "CMYK":
            samples = merge(decoded.samples, decoded.layout, pixels, hole, None)
        file = JpegFile(source)
        notes = _trailer_note(file.trailer)
        if quality is None:
            try:
                data = jpeg.splice(file, stored(samples, decoded.orientation), stored(hole, decoded.orientation))
                return Encoded(data, notes, "JPEG")
            except Unspliceable as reason:
                notes += (f"{reason}: the JPEG was encoded anew with its own tables, other pixels changed slightly",)
        if decoded.layout.mode != "CMYK":
            samples = merge(decoded.samples, decoded.layout, pixels, hole, None)
        frame = np.ascontiguousarray(stored(samples, decoded.orientation))
        return Encoded(jpeg.reencode(file, to_image(frame, decoded.layout), quality), notes, "JPEG")

    def _to_source_image(self, samples: AnyArray) -> Image.Image:
        frame = np.ascontiguousarray(stored(samples, self._decoded.orientation))
        image = to_image(frame, self._decoded.layout)
        image.info = dict(self._origin)
        if isinstance(image.info.get("exif"), bytes):
            image.info["exif"] = metadata.exif_without_thumbnail(image.info["exif"])
        return image

    def _to_upright_image(self, samples: AnyArray) -> Image.Image:
        layout, carried = self._decoded.layout, self._decoded.carried
        if layout.mode.endswith(";16") and layout.mode != "I;16":
            samples, layout, _ = fit(samples, layout, "WEBP", carried.transparency)
        image = to_image(samples, layout)
        blocks = {
            "exif": metadata.exif_upright(metadata.exif_without_thumbnail(carried.exif)),
            "icc_profile": carried.icc,
            "xmp": metadata.xmp_upright(metadata.xmp_without_thumbnails(carried.xmp)),
            "dpi": carried.dpi,
        }
        image.info = {name: block for name, block in blocks.items() if block}
        if carried.transparency is not None and layout.mode == self.mode:
            image.info["transparency"] = carried.transparency
        return image


def _frozen(array: AnyArray) -> AnyArray:
    """The array, contiguous and not writable."""
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array


def _from_image(image: Image.Image, max_megapixels: float) -> Decoded:
    """The samples of a PIL image, upright."""
    read.check_size((image.height, image.width), "image", max_megapixels)
    try:
        decoded = read.from_image(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise PhotoError(f"image: cannot be decoded ({error})") from None
    turned = np.ascontiguousarray(upright(decoded.samples, decoded.orientation))
    return Decoded(turned, decoded.layout, decoded.format, decoded.orientation, None, decoded.carried)


def _to_tensor(samples: AnyArray, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    import torch

    planes = samples[None] if samples.ndim == 2 else np.moveaxis(samples, -1, 0)
    return torch.from_numpy(np.ascontiguousarray(planes)).to(device=device, dtype=dtype)


def _trailer_note(trailer: bytes) -> tuple[str, ...]:
    """Phones append gain maps, depth maps and short films, which all show what was removed."""
    if not trailer.strip(b"\x00"):
        return ()
    return (f"{counted(len(trailer), 'byte')} behind the picture (gain map, second picture or film) were dropped",)
