"""Which parts of a photo a semantic network is shown, and at which size: geometry, and how the answers to parts become one.

A photo is seen as a whole, its long side squeezed a little if need be; a panorama in overlapping pieces along its length; and what is much
larger than the network's own scale once more in tiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_LONGEST = 3.0  # the network's long side at most, in short sides
_LONGEST_WHOLE = 4.0  # a longer photo, in short sides, is seen in pieces: squeezed further, nothing is found
_PIECE = 2.0  # their length, in short sides
_LONGEST_STRIP = 12.0  # what is longer than this, in pieces, is seen in longer ones
_TILE_SCALE = 2.0  # the tile pass at most this much finer than the overview
_LEAST_GAIN = 1.4  # a tile pass less fine than this times the overview is not worth its time
_MOST_TILES = 16
_OVERLAP = 0.25


def network_size(size: tuple[int, int], short_side: int, multiple: int = 1) -> tuple[int, int]:
    """What a photo of `size` = (H, W) is resized to: the short side as given, the long side at most three times as long, both to the
    nearest `multiple`."""
    scale = short_side / min(size)

    def side(length: int) -> int:
        return max(multiple, round(min(length * scale, _LONGEST * short_side) / multiple) * multiple)

    return side(size[0]), side(size[1])


def tiles(size: tuple[int, int], short_side: int) -> list[tuple[int, int, int, int]]:
    """Overlapping squares (x0, y0, x1, y1) that cover a photo of `size` = (H, W), at most 16, each to be seen at `short_side`.

    As fine as the photo is, but no finer than twice the overview; none where that would show nothing new.
    """
    height, width = size
    scale = min(1.0, _TILE_SCALE * short_side / min(size))
    while scale * min(size) >= _LEAST_GAIN * short_side:
        side = round(short_side / scale)
        rows, columns = _starts(height, side), _starts(width, side)
        if len(rows) * len(columns) <= _MOST_TILES:
            return [(x, y, x + side, y + side) for y in rows for x in columns]
        scale *= 0.95
    return []


def pieces(size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """The photo of `size` = (H, W) as a whole, (x0, y0, x1, y1); one that is too long for that in overlapping parts along its length, at
    most 16."""
    height, width = size
    short, long = min(size), max(size)
    if long <= _LONGEST_WHOLE * short:
        return [(0, 0, width, height)]
    side = max(round(_PIECE * short), math.ceil(long / _LONGEST_STRIP))
    starts = _starts(long, side)
    return [(0, at, width, at + side) if height > width else (at, 0, at + side, height) for at in starts]


def seen_at_once(size: tuple[int, int]) -> float:
    """Share of a photo of `size` = (H, W) that each of its `pieces` shows."""
    x0, y0, x1, y1 = pieces(size)[0]
    return (x1 - x0) * (y1 - y0) / (size[0] * size[1])


def blend(parts: Sequence[Tensor], starts: Sequence[int]) -> Tensor:
    """(classes, h, W) log probabilities of a strip, from those of its overlapping parts, (classes, h, w) each, that begin at `starts`:
    the nearer a part's own end, the less it says."""
    length = parts[0].shape[2]
    at = torch.arange(length, device=parts[0].device)
    weight = torch.minimum(at, length - 1 - at).float() + 1
    total = parts[0].new_zeros((*parts[0].shape[:2], starts[-1] + length))
    weights = parts[0].new_zeros(starts[-1] + length)
    for part, start in zip(parts, starts, strict=True):
        total[:, :, start : start + length] += weight * part.exp()
        weights[start : start + length] += weight
    return (total / weights).clamp_min(1e-12).log()


def _starts(length: int, side: int) -> list[int]:
    """Where tiles of `side` begin along `length`, evenly, so that neighbours share at least a quarter."""
    count = 1 + math.ceil(max(0, length - side) / (side * (1 - _OVERLAP)))
    return [round(step * (length - side) / max(1, count - 1)) for step in range(count)]
