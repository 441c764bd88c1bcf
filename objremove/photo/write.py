"""From samples to files: one writer a format, each with the metadata that the source carried.

Formats that Pillow writes without loss get exactly the samples that they are given. Where a format cannot hold what the
photo has (transparency, 16 bits, ink separations), it is reduced as little as possible, and a warning says so.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from objremove.errors import PhotoError, UsageError
from objremove.photo import metadata, png, ppm, tiff
from objremove.photo.modes import Layout, luma, to_rgb
from objremove.photo.read import DECODER_ERRORS, Carried, Transparency
from objremove.types import AnyArray, Mask

_NAMES = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif", "mpo"),
    "PNG": ("png", "apng"),
    "WEBP": ("webp",),
    "TIFF": ("tif", "tiff"),
    "AVIF": ("avif", "avifs"),
    "BMP": ("bmp", "dib"),
    "GIF": ("gif",),
    "PPM": ("ppm", "pgm", "pbm", "pnm"),
    "HEIF": ("heic", "heif", "hif"),
}
_MODES = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "LA;16", "RGB;16", "RGBA;16"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "RGB;16", "RGBA;16"),
    "AVIF": ("L", "RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),  # Pillow's BMP of RGBA has a fourth byte that readers ignore
    "GIF": ("1", "L", "P", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB", "I;16", "RGB;16"),
    "HEIF": ("RGB", "RGBA"),
}
_MARKED = ("1", "L", "I;16", "RGB", "RGB;16")  # modes in which one colour may be marked as transparent
_KEEPS_MARKS = {"PNG": (*_MARKED, "P"), "GIF": ("1", "L", "P")}  # modes with marks, of the colour or in the palette
_DAMAGED_EXIF = "the EXIF block is damaged: it was dropped"
_QUALITY = {"JPEG": 95, "WEBP": 95, "AVIF": 90, "HEIF": 90}
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
# Tags that describe how the source's samples lie in its file, and its orientation; the new file has its own.
_TIFF_STRUCTURE = frozenset(
    [
        *range(254, 260),
        262,
        266,
        273,
        274,
        *range(277, 280),
        284,
        317,
        320,
        *range(322, 326),
        330,
        338,
        339,
        347,
        *range(512, 522),
        *range(529, 533),
        34675,
    ]
)
_TIFF_XMP = 700
_TIFF_DIRECTORIES = (0x8769, 0x8825)  # EXIF and GPS
_APP_LIMIT = 65_000  # bytes of one JPEG application segment, its signature set aside


@dataclass(frozen=True)
class Encoded:
    """An encoded file.

    Attributes:
        data: its bytes.
        warnings: what the format or the encoding could not keep, or must not.
        format: Pillow's name of the format.
    """

    data: bytes
    warnings: tuple[str, ...]
    format: str


@dataclass(frozen=True, eq=False)
class Job:
    """What a writer needs: upright samples and what they mean, metadata, and the source file where it has the same format."""

    samples: AnyArray
    layout: Layout
    carried: Carried
    source: bytes | None
    quality: int


def own_format(name: str | None) -> str | None:
    """Which of the formats that can be written a source of Pillow's format `name` belongs to; None for others."""
    return next(
        (canonical for canonical, names in _NAMES.items() if name and name.lower() in (canonical.lower(), *names)), None
    )


def format_name(name: str | None) -> str | None:
    """Pillow's name of a format given by its name or extension in any case; `UsageError` for an unknown one."""
    if name is None:
        return None
    plain = name.lower().lstrip(".")
    for canonical, names in _NAMES.items():
        if plain in names:
            return canonical
    raise UsageError(f"unknown file format {name!r}; use one of {', '.join(names[0] for names in _NAMES.values())}")


def write(
    samples: AnyArray, layout: Layout, carried: Carried, target: str, source: bytes | None, quality: int | None
) -> Encoded:
    """Encode upright samples.

    Args:
        samples: (H, W) or (H, W, C).
        layout: what they mean.
        carried: metadata; the orientation is set to 1 and the thumbnail dropped.
        target: one of Pillow's names, see `format_name`.
        source: the source file where it has the target's format.
        quality: 1..100 for lossy formats, or None for a high one.

    Raises:
        PhotoError: the format cannot hold such a photo, such as a side that is too long for it.
    """
    samples, fitted, warnings = fit(samples, layout, target, carried.transparency)
    carried, lost = _fitting_profile(carried, layout, fitted)
    exif = metadata.exif_upright(metadata.exif_without_thumbnail(carried.exif))
    xmp = metadata.xmp_upright(metadata.xmp_without_thumbnails(carried.xmp))
    job = Job(samples, fitted, replace(carried, exif=exif, xmp=xmp), source, quality or _QUALITY.get(target, 0))
    try:
        data, notes = _WRITERS[target](job)
    except (OSError, ValueError, RuntimeError) as error:
        raise PhotoError(f"the photo cannot be written as {target}: {error}; choose another --format") from None
    return Encoded(data, (*warnings, *lost, *notes), target)


def fit(
    samples: AnyArray, layout: Layout, target: str, transparency: Transparency = None
) -> tuple[AnyArray, Layout, tuple[str, ...]]:
    """Samples in the nearest mode that the format holds, and what was lost on the way there.

    Transparency that the palette or one marked colour brings becomes an alpha channel where the format has no such marks.
    A format without any transparency gets the photo on white: colours that nobody saw stay unseen.
    """
    colour = transparency if layout.mode in _MARKED and isinstance(transparency, int | tuple) else None
    marked = colour is not None or (layout.mode == "P" and layout.has_alpha)
    if layout.mode in _MODES[target] and (not marked or layout.mode in _KEEPS_MARKS.get(target, ())):
        return samples, layout, ()
    rgb, alpha = to_rgb(samples, layout)
    if colour is not None:
        alpha = _alpha_of_mark(rgb, colour)
    warnings: tuple[str, ...] = ()
    if alpha is not None and "RGBA" not in _MODES[target]:
        warnings = (f"{target} has no transparency: the photo was laid on white",) if _is_clear(alpha).any() else ()
        rgb, alpha = _on_white(rgb, alpha), None
    deep, grey = rgb.dtype == np.uint16, layout.mode[0] in "1LI"
    for keep_deep in (True, False) if deep else (False,):
        for keep_grey in (True, False) if grey else (False,):
            mode = _mode_name(keep_grey, alpha is not None, keep_deep)
            if mode in _MODES[target]:
                warnings += (f"{target} holds 8 bits a channel: 16 were reduced",) if deep and not keep_deep else ()
                return _composed(rgb, alpha, keep_grey, keep_deep), Layout(mode), warnings
    raise AssertionError(f"{target} holds neither grey nor RGB")


def _alpha_of_mark(rgb: AnyArray, colour: int | tuple[int, ...]) -> AnyArray:
    """(H, W) alpha in the depth of `rgb`, (H, W, 3): 0 where it has the marked grey or colour, else opaque."""
    alpha = np.full(rgb.shape[:2], np.iinfo(rgb.dtype).max, dtype=rgb.dtype)
    alpha[(rgb == np.array(colour)).all(axis=2)] = 0
    return alpha


def _is_clear(alpha: AnyArray) -> Mask:
    """(H, W) bool: what is not wholly opaque."""
    clear: Mask = alpha < np.iinfo(alpha.dtype).max
    return clear


def _on_white(rgb: AnyArray, alpha: AnyArray) -> AnyArray:
    """(H, W, 3) of `rgb` as it is seen through `alpha`, (H, W) of the same depth, in front of white."""
    clear, white = _is_clear(alpha), np.uint32(np.iinfo(rgb.dtype).max)
    cover = alpha[clear].astype(np.uint32)[:, None]
    seen = rgb.copy()
    seen[clear] = (rgb[clear] * cover + white * (white - cover) + white // 2) // white  # below 2**32 for 16 bits too
    return seen


def _mode_name(grey: bool, alpha: bool, deep: bool) -> str:
    name = ("L" if grey else "RGB") + ("A" if alpha else "")
    return name if not deep else "I;16" if name == "L" else f"{name};16"


def _composed(rgb: AnyArray, alpha: AnyArray | None, grey: bool, deep: bool) -> AnyArray:
    """(H, W) or (H, W, C) samples of grey or RGB with or without alpha, in 16 or 8 bits."""
    colour = luma(rgb)[..., None] if grey else rgb
    joined = colour if alpha is None else np.concatenate([colour, alpha[..., None].astype(colour.dtype)], axis=2)
    if joined.dtype == np.uint16 and not deep:
        joined = ((joined.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return np.ascontiguousarray(joined[..., 0] if joined.shape[2] == 1 else joined)


def _fitting_profile(carried: Carried, before: Layout, after: Layout) -> tuple[Carried, tuple[str, ...]]:
    """An ICC profile describes one colour space; where that changes, the profile goes."""

    def space(layout: Layout) -> str:
        return "grey" if layout.mode[0] in "1LI" else "CMYK" if layout.mode == "CMYK" else "RGB"

    if not carried.icc or space(before) == space(after):
        return carried, ()
    return replace(carried, icc=b""), (
        f"the {space(before)} colour profile does not fit {space(after)}: it was dropped",
    )


def to_image(samples: AnyArray, layout: Layout) -> Image.Image:
    """A PIL image with exactly these samples, without metadata; not for 16-bit colour."""
    if layout.mode == "1":
        return Image.fromarray(samples)
    height, width = samples.shape[:2]
    octets = samples.astype(">u2") if layout.mode == "I;16B" else samples
    image = Image.frombytes(layout.mode, (width, height), octets.tobytes())
    if layout.palette is not None:
        image.putpalette(layout.palette[:, :3].tobytes(), "RGB")
    return image


def _saved(job: Job, kind: str, **options: Any) -> bytes:
    target = io.BytesIO()
    to_image(job.samples, job.layout).save(target, kind, **{key: value for key, value in options.items() if value})
    return target.getvalue()


def _transparency(job: Job) -> dict[str, Any]:
    """The transparent index, table or colour, for modes that have one."""
    holds = job.layout.mode in ("P", "L", "RGB", "1", "I;16") and job.carried.transparency is not None
    return {"transparency": job.carried.transparency} if holds else {}


def _write_png(job: Job) -> tuple[bytes, tuple[str, ...]]:
    if job.layout.mode.endswith(";16") and job.layout.mode != "I;16":
        colour = job.carried.transparency if job.layout.mode == "RGB;16" else None
        encoded = png.encode_deep(job.samples, job.layout.mode, colour if isinstance(colour, tuple) else ())
    else:
        target = io.BytesIO()
        to_image(job.samples, job.layout).save(target, "PNG", **_transparency(job))
        encoded = target.getvalue()
    return png.with_metadata(encoded, job.source or _png_of_metadata(job.carried)), ()


def _png_of_metadata(carried: Carried) -> bytes:
    """A PNG of one pixel with the metadata of another format, as a source of chunks."""
    text = PngImagePlugin.PngInfo()
    if carried.xmp:
        text.add_itxt("XML:com.adobe.xmp", carried.xmp.decode("utf-8", "replace"))
    target = io.BytesIO()
    options = {"icc_profile": carried.icc, "exif": carried.exif, "dpi": carried.dpi}
    Image.new("L", (1, 1)).save(target, "PNG", pnginfo=text, **{key: value for key, value in options.items() if value})
    return target.getvalue()


def _write_jpeg(job: Job) -> tuple[bytes, tuple[str, ...]]:
    exif = job.carried.exif
    signed = exif if not exif or exif.startswith(b"Exif\x00\x00") else b"Exif\x00\x00" + exif
    blocks = {"exif": signed, "xmp": job.carried.xmp}
    kept = {name: block for name, block in blocks.items() if len(block) <= _APP_LIMIT}
    notes = tuple(
        f"{name.upper()} of {len(blocks[name])} bytes is too long for JPEG: dropped" for name in blocks.keys() - kept
    )
    data = _saved(job, "JPEG", quality=job.quality, icc_profile=job.carried.icc, dpi=job.carried.dpi, **kept)
    return data, notes


def _write_webp(job: Job) -> tuple[bytes, tuple[str, ...]]:
    lossless = job.source is not None and _is_lossless_webp(job.source)
    options = {"icc_profile": job.carried.icc, "exif": job.carried.exif, "xmp": job.carried.xmp, "exact": True}
    options |= {"lossless": True} if lossless else {"quality": job.quality}
    return _saved(job, "WEBP", **options), () if lossless else _lossy_note(job, "WebP")


def _is_lossless_webp(data: bytes) -> bool:
    """Whether the first picture of the file is coded by VP8L: a chunk of its own, or one inside an animation frame."""
    position = 12
    while position + 8 <= len(data):
        name, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8L"
        position += 8 + (16 if name == b"ANMF" else size + size % 2)
    return False


def _lossy_note(job: Job, name: str) -> tuple[str, ...]:
    if job.source is None:
        return ()
    return (f"lossy {name} was encoded anew at quality {job.quality}: pixels outside the hole changed slightly",)


def _write_avif(job: Job) -> tuple[bytes, tuple[str, ...]]:
    options = {"icc_profile": job.carried.icc, "exif": job.carried.exif, "xmp": job.carried.xmp}
    notes = _lossy_note(job, "AVIF")
    try:
        exif = Image.Exif()  # Pillow looks for the orientation there, and writes it anew
        exif.load(job.carried.exif)
        exif.tobytes()
    except (*DECODER_ERRORS, AttributeError):
        options, notes = {**options, "exif": b""}, (*notes, _DAMAGED_EXIF)
    return _saved(job, "AVIF", quality=job.quality, subsampling="4:4:4", **options), notes


def _write_heif(job: Job) -> tuple[bytes, tuple[str, ...]]:
    try:
        import pillow_heif
    except ImportError:
        raise PhotoError("to write HEIC, pip install objremove[heif]") from None
    image = to_image(job.samples, job.layout)
    image.info = {"icc_profile": job.carried.icc} if job.carried.icc else {}
    target = io.BytesIO()
    blocks = {name: block for name, block in (("exif", job.carried.exif), ("xmp", job.carried.xmp)) if block}
    pillow_heif.from_pillow(image).save(target, quality=job.quality, chroma=444, **blocks)
    return target.getvalue(), _lossy_note(job, "HEIC")


def _write_tiff(job: Job) -> tuple[bytes, tuple[str, ...]]:
    carried = job.carried
    compression = carried.compression if job.source else "tiff_adobe_deflate"
    dpi = None if job.source else carried.dpi  # a TIFF's own density is among its tags
    notes: tuple[str, ...] = ()
    if job.layout.mode in ("RGB;16", "RGBA;16"):
        extra = tiff.extra_samples(job.source) if job.source and job.layout.mode == "RGBA;16" else ()
        data, notes = tiff.encode_deep(job.samples, compression, carried.icc, dpi, extra)
    else:
        if compression in _LOSSY_TIFF:
            notes = (f"{compression} compression inside the TIFF became deflate, which keeps every other pixel",)
            compression = "tiff_adobe_deflate"
        data = _saved(job, "TIFF", compression=compression, icc_profile=carried.icc, dpi=dpi)
    try:
        return tiff.with_tags(data, _tiff_tags(carried)), notes
    except (*DECODER_ERRORS, AttributeError):
        return data, (*notes, _DAMAGED_EXIF)


def _tiff_tags(carried: Carried) -> dict[int, Any]:
    """EXIF as TIFF tags, its directories as dicts, without what describes the source's own samples."""
    exif = Image.Exif()
    if carried.exif:
        exif.load(carried.exif)
    tags = {tag: exif[tag] for tag in exif if tag not in _TIFF_STRUCTURE}
    tags |= {tag: exif.get_ifd(tag) for tag in _TIFF_DIRECTORIES if tag in tags}
    return tags | ({_TIFF_XMP: carried.xmp} if carried.xmp else {})


def _write_bmp(job: Job) -> tuple[bytes, tuple[str, ...]]:
    return _saved(job, "BMP", dpi=job.carried.dpi), ()


def _write_gif(job: Job) -> tuple[bytes, tuple[str, ...]]:
    target = io.BytesIO()
    # Without `optimize=False` Pillow drops unused palette entries, and indices move.
    to_image(job.samples, job.layout).save(target, "GIF", optimize=False, **_transparency(job))
    return target.getvalue(), ("GIF holds 256 colours: the photo was reduced",) if job.layout.mode in (
        "RGB",
        "RGBA",
    ) else ()


def _write_ppm(job: Job) -> tuple[bytes, tuple[str, ...]]:
    return ppm.encode_deep(job.samples) if job.layout.mode == "RGB;16" else _saved(job, "PPM"), ()


_WRITERS: dict[str, Callable[[Job], tuple[bytes, tuple[str, ...]]]] = {
    "JPEG": _write_jpeg,
    "PNG": _write_png,
    "WEBP": _write_webp,
    "TIFF": _write_tiff,
    "AVIF": _write_avif,
    "BMP": _write_bmp,
    "GIF": _write_gif,
    "PPM": _write_ppm,
    "HEIF": _write_heif,
}
