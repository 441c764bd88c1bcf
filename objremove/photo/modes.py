"""Samples of any mode and RGB: how a photo's own samples are shown, and how filled pixels become such samples again.

Only the pixels of the hole are ever converted back. All others are copied from the source's samples, because most
conversions lose something: a palette, the black of CMYK, the colour under a transparent pixel.

Modes are those of Pillow; `;16` marks 16-bit colour, which Pillow lacks (`LA;16`, `RGB;16`, `RGBA;16`), `;F` arrays of floats in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from objremove.types import AnyArray, Mask, Pixels

_GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "LA;16", "L;F")
_COLOUR = ("RGB", "RGBA", "RGBX", "RGB;16", "RGBA;16", "RGB;F", "RGBA;F")
_PILLOW_CONVERTS = ("CMYK", "YCbCr", "HSV")
_WITH_ALPHA = ("LA", "PA", "RGBA", "LA;16", "RGBA;16", "RGBA;F")
MODES = (*_GREY, *_COLOUR, *_PILLOW_CONVERTS, "P", "PA")
_INK_NEIGHBOURHOOD = 32  # pixels around the hole whose black tells how the separation was made
_COLOURS_AT_ONCE = 16384
_WHITE = np.float32(65535)  # what 1 of floats is as an integer


@dataclass(frozen=True, eq=False)
class Layout:
    """What the samples of a photo mean.

    Attributes:
        mode: one of `MODES`.
        palette: (N, 4) uint8 RGBA for `P` and `PA`, else None.
    """

    mode: str
    palette: NDArray[np.uint8] | None = None

    @property
    def has_alpha(self) -> bool:
        """Whether the samples carry transparency, in a channel or through the palette."""
        return self.mode in _WITH_ALPHA or (self.palette is not None and bool((self.palette[:, 3] < 255).any()))


def to_rgb(samples: AnyArray, layout: Layout) -> tuple[Pixels, AnyArray | None]:
    """(H, W, 3) RGB and (H, W) alpha or None of `samples`, (H, W) or (H, W, C); uint16 for 16-bit modes and floats, else uint8.

    The pixels may be a view of the samples.
    """
    mode = layout.mode
    if layout.palette is not None:
        indices = samples[..., 0] if mode == "PA" else samples
        colours = layout.palette[np.minimum(indices, len(layout.palette) - 1)]
        alpha = samples[..., 1] if mode == "PA" else colours[..., 3]
        return colours[..., :3], alpha if layout.has_alpha else None
    if mode in _PILLOW_CONVERTS:
        return np.asarray(Image.fromarray(samples, mode).convert("RGB")), None
    values = _as_integers(samples, mode)
    if mode in _GREY:
        grey = values[..., 0] if values.ndim == 3 else values
        return np.repeat(grey[..., None], 3, axis=2), values[..., 1] if layout.has_alpha else None
    return values[..., :3], values[..., 3] if layout.has_alpha else None


def _as_integers(samples: AnyArray, mode: str) -> AnyArray:
    if mode == "1":
        return np.where(samples, np.uint8(255), np.uint8(0))
    if mode in ("I", "I;16B"):
        return samples.astype(np.uint16)
    # In 8 bits, dark linear light would have a handful of values; float16 cannot hold 65535.
    return np.rint(samples.astype(np.float32) * _WHITE).astype(np.uint16) if mode.endswith(";F") else samples


def merge(samples: AnyArray, layout: Layout, pixels: Pixels, hole: Mask, alpha: AnyArray | None) -> AnyArray:
    """A copy of `samples` in which the pixels of the hole show `pixels` and, where given, `alpha`.

    Args:
        samples: (H, W) or (H, W, C), never written.
        layout: what they mean.
        pixels: (H, W, 3) RGB in the depth that `to_rgb` gave.
        hole: (H, W) bool.
        alpha: (H, W) in the same depth, or None to keep the transparency as it is.
    """
    merged = samples.copy()
    if not hole.any():
        return merged
    fill, cover = pixels[hole], None if alpha is None else alpha[hole]
    if layout.mode == "P" and layout.palette is not None:
        merged[hole] = _nearest_indices(fill, cover, samples[hole], layout.palette)
    elif layout.mode == "PA" and layout.palette is not None:
        opaque = np.column_stack([layout.palette[:, :3], np.full(len(layout.palette), 255, dtype=np.uint8)])
        merged[hole, 0] = _nearest_indices(fill, None, samples[hole][:, 0], opaque)
    elif layout.mode == "CMYK":
        merged[hole] = to_inks(fill, black_ratio(samples, hole))
    elif layout.mode in _PILLOW_CONVERTS:
        merged[hole] = np.asarray(Image.fromarray(fill[None]).convert(layout.mode))[0]
    else:
        _put(merged, hole, fill, layout.mode)
    if cover is not None and layout.mode in _WITH_ALPHA:
        merged[hole, -1] = cover / _WHITE if layout.mode.endswith(";F") else cover
    return merged


def _put(merged: AnyArray, hole: Mask, fill: AnyArray, mode: str) -> None:
    """Write (n, 3) RGB into grey or colour samples; a grey fill keeps its value exactly."""
    values = luma(fill) if mode in _GREY else fill
    if mode == "1":
        values = values >= 128
    if mode.endswith(";F"):
        values = values / _WHITE
    if merged.ndim == 2:
        merged[hole] = values
    elif mode in _GREY:
        merged[hole, 0] = values
    else:
        merged[hole, :3] = values


def luma(rgb: AnyArray) -> AnyArray:
    """ITU-R 601 luma of (..., 3) RGB in its own depth, in the integer form that Pillow uses: grey stays the grey that it was."""
    wide = rgb.astype(np.uint32)
    weighted = wide[..., 0] * 19595 + wide[..., 1] * 38470 + wide[..., 2] * 7471 + 0x8000
    return (weighted >> 16).astype(rgb.dtype)


def _nearest_indices(
    fill: AnyArray, cover: AnyArray | None, old: AnyArray, palette: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Index of the nearest palette colour for each of (n, 3) colours, among the colours that are as transparent as wanted.

    `cover` is the wanted alpha; None keeps that of `old`, (n,) indices. A pixel that stays fully transparent keeps its index.
    """
    wanted = palette[np.minimum(old, len(palette) - 1), 3] if cover is None else cover
    targets, inverse = np.unique(np.column_stack([fill, wanted]).astype(np.int32), axis=0, return_inverse=True)
    chosen = np.empty(len(targets), dtype=np.uint8)
    for start in range(0, len(targets), _COLOURS_AT_ONCE):
        part = targets[start : start + _COLOURS_AT_ONCE]
        # Colours are weighed by their opacity, and transparency outweighs any colour.
        difference = part[:, None, :] - palette[None, :, :].astype(np.int32)
        distance = (difference[..., :3] ** 2).sum(axis=2) * (part[:, None, 3] > 0) + 4 * difference[..., 3] ** 2
        chosen[start : start + _COLOURS_AT_ONCE] = distance.argmin(axis=1)
    indices = chosen[inverse.reshape(-1)]
    stays_clear = (wanted == 0) & (palette[np.minimum(old, len(palette) - 1), 3] == 0)
    return np.where(stays_clear, old, indices).astype(np.uint8)


def black_ratio(inks: AnyArray, hole: Mask) -> float:
    """How much of the possible black the separation around the hole uses, 0..1: the median of K / (255 - max(R, G, B)).

    `inks` is (H, W, 4) CMYK as Pillow has it. Pixels that are nearly white tell nothing; where there are no others, 1.
    """
    import cv2

    size = 2 * _INK_NEIGHBOURHOOD + 1
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    window = (
        slice(max(rows[0] - _INK_NEIGHBOURHOOD, 0), rows[-1] + _INK_NEIGHBOURHOOD + 1),
        slice(max(columns[0] - _INK_NEIGHBOURHOOD, 0), columns[-1] + _INK_NEIGHBOURHOOD + 1),
    )
    inside = hole[window]
    near = cv2.dilate(inside.astype(np.uint8), np.ones((size, size), np.uint8)).astype(np.bool_) & ~inside
    known = inks[window][near].astype(np.float32)
    light = (255 - known[:, :3].min(axis=1)) * (255 - known[:, 3]) / 255
    possible = 255 - light
    telling = possible > 16
    return float(np.median(known[telling, 3] / possible[telling])) if telling.any() else 1.0


def to_inks(rgb: AnyArray, ratio: float) -> NDArray[np.uint8]:
    """(n, 4) CMYK that Pillow shows as (n, 3) RGB, with `ratio` of the possible black.

    Pillow shows R = (255 - C)(255 - K) / 255. With K <= 255 - max(R, G, B) that has a solution in C, M and Y.
    """
    colours = rgb.astype(np.float32)
    black = np.rint(np.clip(ratio, 0, 1) * (255 - colours.max(axis=1)))
    shade = np.maximum(255 - black, 1)[:, None]
    inks = np.clip(np.rint(255 - 255 * colours / shade), 0, 255)
    return np.column_stack([inks, black]).astype(np.uint8)
