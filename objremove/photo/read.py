"""From files, PIL images, arrays and tensors to samples: every decoder that a photo meets on its way in.

Files are checked before they are decoded (kind, declared size) and refused unless they are complete. Pillow's
decoders are called one by one from a list of allowed formats, because its own size limit is a global of the process.
"""

from __future__ import annotations

import io
import re
import struct
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from objremove.errors import NoFileError, PhotoError
from objremove.photo import png, ppm, tiff, unkept, variants
from objremove.photo.modes import MODES, Layout
from objremove.types import AnyArray

if TYPE_CHECKING:
    import torch

Transparency = int | bytes | tuple[int, ...] | None
"""The transparent palette index or grey value, the alphas of a palette, the transparent colour, or none, as Pillow has it."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP", "GIF", "PPM")
_ORIENTATION = 0x0112
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_DEEP: dict[str, Any] = {"PNG": png, "TIFF": tiff, "PPM": ppm}
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    IndexError,
    TypeError,
    KeyError,
    struct.error,
    EOFError,
    RuntimeError,
)


@dataclass(frozen=True)
class Carried:
    """What a file carries besides pixels, as Pillow names it; empty where there is none."""

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    transparency: Transparency = None
    compression: str | None = None


@dataclass(frozen=True, eq=False)
class Decoded:
    """The samples of one photo and what they mean.

    Attributes:
        samples: (H, W) or (H, W, C), upright.
        layout: mode and palette of the samples.
        format: Pillow's name of the file format, or None.
        orientation: EXIF orientation 1..8 that the stored frame had; the samples have it applied already.
        data: the file, or None for what came as an image, array or tensor.
        carried: metadata.
        warnings: what of the source is not in the samples.
        unkept: what of the source's file no file that is written of it has.
    """

    samples: AnyArray
    layout: Layout
    format: str | None = None
    orientation: int = 1
    data: bytes | None = None
    carried: Carried = field(default_factory=Carried)
    warnings: tuple[str, ...] = ()
    unkept: tuple[str, ...] = ()


def upright(array: AnyArray, orientation: int) -> AnyArray:
    """A view of (H, W, ...) `array` turned from the stored frame to the upright one; orientations as in EXIF 2.32, 4.6.4."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    # By now 5 needs nothing more, 6 a flip in x, 7 both and 8 one in y.
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


def stored(array: AnyArray, orientation: int) -> AnyArray:
    """The inverse of `upright`, a view too."""
    return upright(array, {6: 8, 8: 6}.get(orientation, orientation))


def read_path(path: Path) -> bytes:
    """The bytes of a file; `NoFileError` where there is none, `PhotoError` where it cannot be read or holds nothing."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NoFileError(f"{path}: no such file or folder") from None
    except OSError as error:
        if path.is_dir():
            raise NoFileError(f"{path}: is a folder, not a photo") from None
        raise PhotoError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not data:
        raise PhotoError(f"{path}: the file is empty")
    return data


def decode_file(data: bytes, name: str, max_megapixels: float) -> Decoded:
    """The first picture in a file.

    Args:
        data: the whole file.
        name: what to call it in messages.
        max_megapixels: files that declare more pixels are refused before they are decoded.

    Raises:
        PhotoError: not a picture of `FORMATS`, of pixels that are not supported, too large, truncated or damaged.
    """
    if not data:
        raise PhotoError(f"{name}: the file is empty")
    image = identify(data, name)
    check_size((image.height, image.width), name, max_megapixels)
    try:
        if image.format == "TIFF" and tiff.is_raw(image, data):
            raise PhotoError("a camera's raw file, of which only a preview could be read: develop it first")
        decoded = _decode(image, data)
    except PhotoError as error:
        raise PhotoError(f"{name}: {variants.unsupported(data) or error}") from None
    except MemoryError:
        raise PhotoError(f"{name}: not enough memory for {image.width} x {image.height} pixels") from None
    except (*DECODER_ERRORS, Image.DecompressionBombError) as error:
        why = variants.unsupported(data) or f"truncated or damaged ({_one_line(error)}); get a fresh copy"
        raise PhotoError(f"{name}: {why}") from None
    finally:
        image.close()
    return replace(decoded, data=data)


def _one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)) or type(error).__name__


def check_size(size: tuple[int, int], name: str, max_megapixels: float) -> None:
    """Raise `PhotoError` for a photo of no pixels, or of more than the limit."""
    height, width = size
    if height < 1 or width < 1:
        raise PhotoError(f"{name}: has no pixels ({width} x {height})")
    if height * width > max_megapixels * 1e6:
        raise PhotoError(
            f"{name}: {width} x {height} pixels are {height * width / 1e6:.0f} megapixels, more than the limit of "
            f"{max_megapixels:g}; raise it with --max-megapixels"
        )


def identify(data: bytes, name: str) -> Image.Image:
    """The picture opened by the first decoder that accepts it, not decoded yet."""
    from PIL import (  # noqa: F401 - each registers itself in Image.OPEN
        AvifImagePlugin,
        BmpImagePlugin,
        GifImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        PpmImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    reason = ""
    for kind in FORMATS:
        factory, accept = Image.OPEN[kind]
        try:
            if accept is None or accept(data[:16]) is True:
                return factory(io.BytesIO(data), name)
        except Image.DecompressionBombError as error:
            raise PhotoError(f"{name}: {error}") from None
        except DECODER_ERRORS as error:
            reason = f" ({_one_line(error)})"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return _open_heif(data, name)
    if why := variants.unsupported(data):
        raise PhotoError(f"{name}: {why}")
    if reason:
        raise PhotoError(f"{name}: the header is damaged or of an unknown variant{reason}")
    raise PhotoError(f"{name}: not a picture that objremove reads ({', '.join(FORMATS)}, HEIC)")


def _open_heif(data: bytes, name: str) -> Image.Image:
    try:
        import pillow_heif
    except ImportError:
        raise PhotoError(f"{name}: is a HEIC file; to read it, pip install objremove[heif]") from None
    try:
        file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
    except (ValueError, OSError, RuntimeError) as error:
        raise PhotoError(f"{name}: truncated or damaged HEIC ({error}); get a fresh copy") from None
    return _LazyHeif(file)


class _LazyHeif(Image.Image):
    """A HEIC file in the shape of a Pillow image: size now, pixels at `load`. libheif has turned it upright already."""

    format = "HEIF"

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._file = file
        self._size, self._mode = file.size, file.mode
        self.info = {key: value for key, value in file.info.items() if value}
        self.n_frames = len(file)

    def load(self) -> Any:
        if self._file is not None:
            file, self._file = self._file, None
            self.im = file.to_pillow().im
        return super().load()


def _decode(image: Image.Image, data: bytes) -> Decoded:
    frames = getattr(image, "n_frames", 1)
    warnings: tuple[str, ...] = (f"{frames} frames: only the first is kept",) if frames > 1 else ()
    kind = image.format
    names = png.check_whole(data) if kind == "PNG" else set()
    deep = _deep_mode(image, data)
    depth = _depth(image, data)
    if depth > 8 and deep is None:
        warnings += (f"{depth} bits a channel: read as 8",)
    warnings += unkept.colours(image, data)
    lost = unkept.pictures(image, data, names)
    if deep is not None:
        samples = _DEEP[str(kind)].read_deep(data, deep)
        decoded = Decoded(samples, Layout(deep), carried=_carried(image))
        turned = _orientation(image)
    else:
        image.load()
        decoded = from_image(image)
        turned = decoded.orientation
    if kind in (
        "TIFF",
        "HEIF",
    ):  # Pillow and libheif turn these as they decode; OpenCV's and tifffile's samples are not turned
        turned = turned if deep is not None else 1
    return replace(
        decoded,
        samples=_turned(decoded.samples, turned),
        format=kind,
        orientation=turned,
        warnings=warnings,
        unkept=lost,
    )


def _deep_mode(image: Image.Image, data: bytes) -> str | None:
    """The mode of samples that Pillow would cut to 8 bits, and another library reads whole."""
    if image.format == "TIFF":
        return tiff.deep_mode(image)
    return {"PNG": png.deep_mode, "PPM": ppm.deep_mode}.get(image.format or "", lambda _: None)(data)


def _depth(image: Image.Image, data: bytes) -> int:
    """Bits of a sample where Pillow or libheif cut them to 8: in TIFF inks, in PPM colours, in HEIC of newer cameras."""
    if image.format == "TIFF":
        return 16 if tiff.has_deep_inks(image) else 8
    return ppm.depth(data) if image.format == "PPM" else int(image.info.get("bit_depth", 8))


def _turned(samples: AnyArray, orientation: int) -> AnyArray:
    return np.ascontiguousarray(upright(samples, orientation))


def from_image(image: Image.Image) -> Decoded:
    """The samples of a PIL image in its stored frame (not turned), with its orientation and metadata."""
    if image.mode not in MODES:
        raise PhotoError(f"pixels of mode {image.mode} are not supported; convert the image to RGB or RGBA first")
    samples = np.asarray(image)
    if image.mode == "I" and (samples.min(initial=0) < 0 or samples.max(initial=0) > 65535):
        raise PhotoError("32-bit samples beyond 0..65535 are not supported; convert the image to 16 bits first")
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    layout = Layout(image.mode, _palette(image) if image.mode in ("P", "PA") else None)
    return Decoded(samples, layout, image.format, _orientation(image), carried=_carried(image))


def _palette(image: Image.Image) -> AnyArray:
    """(N, 4) uint8 RGBA, the transparent index and alpha table of GIF and PNG included."""
    colours = np.array(image.getpalette("RGBA"), dtype=np.uint8).reshape(-1, 4)
    if not len(colours):
        raise PhotoError("a palette image without a palette; convert the image to RGB first")
    transparency = image.info.get("transparency")
    if isinstance(transparency, int) and transparency < len(colours):
        colours[transparency, 3] = 0
    elif isinstance(transparency, bytes):
        count = min(len(transparency), len(colours))
        colours[:count, 3] = np.frombuffer(transparency, dtype=np.uint8)[:count]
    return colours


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except DECODER_ERRORS:
        return 1  # an EXIF block that cannot be parsed turns nothing, in any viewer
    return orientation if orientation in range(1, 9) else 1


def _carried(image: Image.Image) -> Carried:
    info = image.info
    dpi = info.get("dpi")
    exif = info.get("exif") or b""
    if not exif:  # TIFF tags, and the raw profile of old PNG files
        try:
            exif = tiff.without_traces(image.getexif()).tobytes() if len(image.getexif()) else b""
        except DECODER_ERRORS:
            exif = b""
    xmp = info.get("xmp") or b""
    return Carried(
        exif=exif,
        icc=info.get("icc_profile") or b"",
        xmp=xmp.encode() if isinstance(xmp, str) else bytes(xmp),
        dpi=(float(dpi[0]), float(dpi[1])) if dpi and len(dpi) == 2 else None,
        transparency=info.get("transparency"),
        compression=info.get("compression") if isinstance(info.get("compression"), str) else None,
    )


def from_array(array: AnyArray, name: str = "array") -> Decoded:
    """The samples of an (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) array; a copy. Floats are in 0..1."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        hint = "; channels come first in torch tensors only" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise PhotoError(
            f"{name}: shape {array.shape} is no photo; expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4){hint}"
        )
    check_size((array.shape[0], array.shape[1]), name, float("inf"))
    samples = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    if channels == 1:
        samples = samples.reshape(samples.shape[:2])
    return Decoded(samples, Layout(_array_mode(samples, channels, name)))


def _array_mode(samples: AnyArray, channels: int, name: str) -> str:
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    if samples.dtype == np.bool_ and channels == 1:
        return "1"
    if samples.dtype == np.uint8:
        return mode
    if samples.dtype == np.uint16:
        return "I;16" if channels == 1 else f"{mode};16"
    if samples.dtype.kind == "f":
        if not (samples.min() >= 0 and samples.max() <= 1):
            raise PhotoError(f"{name}: floats must lie in 0..1, found {samples.min():g}..{samples.max():g}")
        return f"{mode};F"
    raise PhotoError(
        f"{name}: dtype {samples.dtype} is not supported; use uint8, uint16, floats in 0..1, or, of one channel, bool"
    )


def is_tensor(source: object) -> bool:
    """Whether `source` is a torch tensor; imports nothing."""
    module = sys.modules.get("torch")
    return module is not None and isinstance(source, module.Tensor)


def from_tensor(tensor: torch.Tensor) -> Decoded:
    """The samples of a (C, H, W) tensor with C of 1, 3 or 4, uint8 or floats in 0..1; a copy on the CPU."""
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise PhotoError(f"tensor: shape {tuple(tensor.shape)} is no photo; expected (C, H, W) with C of 1, 3 or 4")
    values = tensor.detach().cpu()
    if values.is_floating_point() and values.element_size() < 4:
        values = values.float()  # NumPy has no bfloat16; the way back is exact
    return from_array(np.moveaxis(values.numpy(), 0, -1), "tensor")
