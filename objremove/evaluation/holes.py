"""The holes of LaMa's test sets, cut with a fixed seed.

Suvorov et al., WACV 2022, section 4 and the mask configurations of the official repository: the photo is reduced until its
shorter side is 256 or 512 px, a hole is drawn on it, and a square is cropped around a part of the hole. Official sets have no
seed; here a hole is a function of the seed, the set and the photo's key alone, whichever other photos take part; one in the shape of
an object also of the photos that lend shapes.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from objremove.errors import UsageError
from objremove.training.files import Bytes
from objremove.training.library import ShapeBank
from objremove.training.mask_generators import BoxMask, IrregularMask, MaskGenerator, MixedMask, ShapeMask
from objremove.types import Mask

_TRIES = 100


@dataclass(frozen=True)
class HoleSet:
    """A law of holes at a scale.

    Attributes:
        side: of the square crops in pixels.
        generator: draws holes on the reduced photo.
        smallest: least share of the crop that the hole covers; the greatest is one half.
    """

    side: int
    generator: MaskGenerator
    smallest: float = 0.0


@dataclass(frozen=True, eq=False)
class Case:
    """A photo with a hole.

    Attributes:
        photo: the photo's key.
        original: (S, S, 3) uint8 RGB.
        hole: (S, S) bool, True = fill.
    """

    photo: str
    original: Bytes
    hole: Mask


def _mixed(strokes: IrregularMask, boxes: BoxMask) -> MixedMask:
    return MixedMask((strokes, boxes), (1.0, 0.3))


def _strokes(times: tuple[int, int], width: int, length: int) -> IrregularMask:
    return IrregularMask(max_len=length, max_width=width, min_times=times[0], max_times=times[1])


_PUBLISHED = {
    "thin-256": HoleSet(256, _strokes((4, 50), 10, 40)),
    "medium-256": HoleSet(256, _mixed(_strokes((4, 5), 50, 100), BoxMask(0, 10, 50, 5))),
    "thick-256": HoleSet(256, _mixed(_strokes((1, 5), 100, 200), BoxMask(10, 30, 150, 3))),
    "thin-512": HoleSet(512, _strokes((4, 70), 20, 100)),
    "medium-512": HoleSet(512, _mixed(_strokes((4, 10), 100, 200), BoxMask(0, 30, 150, 5))),
    "thick-512": HoleSet(512, _mixed(_strokes((1, 5), 250, 450), BoxMask(10, 30, 300, 4))),
}

OBJECT_NAMES = ("object-256", "object-512")
"""Sets of object outlines."""

NAMES = (*_PUBLISHED, *OBJECT_NAMES)
"""Every set."""


def hole_sets(outlines: ShapeBank | None) -> Mapping[str, HoleSet]:
    """Every set by name; those of object shapes where there are outlines.

    The official segmentation-shaped sets need a detector and are not published; here labelled objects of other photos are moved,
    scaled and turned, and cover between 2 % (as there) and 50 % of the crop.
    """
    if outlines is None:
        return _PUBLISHED
    shapes = ShapeMask(outlines.outline)
    return _PUBLISHED | {
        name: HoleSet(int(name.removeprefix("object-")), shapes, smallest=0.02) for name in OBJECT_NAMES
    }


def make_case(name: str, holes: HoleSet, key: str, photo: Bytes, *, seed: int) -> Case | None:
    """Cut a hole of a set into a photo.

    Args:
        name: of the set; with `seed` and `key` it decides what is drawn.
        holes: the set.
        key: of the photo.
        photo: (H, W, 3) uint8 RGB.
        seed: of the run.

    Returns:
        The case; None where the photo is smaller than the crop: nothing is enlarged, for enlarged photos are too easy to fill.

    Raises:
        UsageError: the outlines give no hole of the size that the set asks for.
    """
    shorter = min(photo.shape[:2])
    if shorter < holes.side:
        return None
    rng = np.random.default_rng([seed, zlib.crc32(f"{name}/{key}".encode())])
    height, width = (round(side * holes.side / shorter) for side in photo.shape[:2])
    frame = np.asarray(cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA))
    for _ in range(_TRIES):
        drawn = holes.generator(rng, height, width)
        top, left = (_start(rng, np.asarray(drawn.any(axis)), holes.side) for axis in (1, 0))
        window = np.s_[top : top + holes.side, left : left + holes.side]
        hole = drawn[window]
        if hole.any() and holes.smallest <= hole.mean() <= 0.5:
            return Case(key, np.ascontiguousarray(frame[window]), np.ascontiguousarray(hole))
    raise UsageError(f"{name}: no hole of the wanted size in {_TRIES} draws: give larger --outlines")


def _start(rng: np.random.Generator, occupied: Mask, side: int) -> int:
    """Where the crop begins along an axis: uniformly among the places that see the hole's end, brought back into the frame."""
    room = len(occupied) - side
    if room <= 0 or not occupied.any():
        return 0
    end = int(np.flatnonzero(occupied)[-1]) + 1
    return int(np.clip(rng.integers(end - side, end), 0, room))
