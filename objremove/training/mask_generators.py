"""Training holes: strokes, boxes and object shapes.

Sampling laws of strokes and boxes: Suvorov et al., WACV 2022, section 2.3 and appendix ("wide" and "narrow" masks). Every
generator draws from the random generator that it is given and keeps no state, so that a hole is a function of the seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from objremove.training.config import MaskConfig
from objremove.types import Mask


class MaskGenerator(Protocol):
    """Draws holes: (rng, height, width) to (height, width) bool, True = fill."""

    def __call__(self, rng: np.random.Generator, height: int, width: int) -> Mask: ...  # noqa: D102


@dataclass(frozen=True)
class IrregularMask:
    """Brush strokes: polygonal chains of thick lines in a few base directions.

    Attributes:
        max_angle: directions are 0.01 + k radians, k below this; strokes of even index take the mirrored direction.
        max_len: a segment is 10 to 9 + `max_len` pixels long.
        max_width: a brush is 5 to 4 + `max_width` pixels wide.
        min_times: fewest strokes.
        max_times: one less than the most strokes (so in the official code).
    """

    max_angle: int = 4
    max_len: int = 200
    max_width: int = 100
    min_times: int = 1
    max_times: int = 5

    def __call__(self, rng: np.random.Generator, height: int, width: int) -> Mask:
        """Draw a hole."""
        canvas = np.zeros((height, width), np.uint8)
        for stroke in range(int(rng.integers(self.min_times, self.max_times + 2))):
            x, y = int(rng.integers(width)), int(rng.integers(height))
            for _ in range(int(rng.integers(1, 6))):
                angle = 0.01 + int(rng.integers(self.max_angle))
                if stroke % 2 == 0:
                    angle = 2 * math.pi - angle
                length = 10 + int(rng.integers(self.max_len))
                brush = 5 + int(rng.integers(self.max_width))
                end_x = min(max(int(x + length * math.sin(angle)), 0), width)
                end_y = min(max(int(y + length * math.cos(angle)), 0), height)
                cv2.line(canvas, (x, y), (end_x, end_y), 1, brush)
                x, y = end_x, end_y
        return canvas.astype(np.bool_)


@dataclass(frozen=True)
class BoxMask:
    """One to `max_times` boxes with sides of `min_size` to `max_size` pixels, at least `margin` from the border; they may overlap."""

    margin: int = 10
    min_size: int = 30
    max_size: int = 150
    max_times: int = 4

    def __call__(self, rng: np.random.Generator, height: int, width: int) -> Mask:
        """Draw a hole."""
        mask = np.zeros((height, width), np.bool_)
        for _ in range(int(rng.integers(1, self.max_times + 1))):
            (y, box_height), (x, box_width) = self._span(rng, height), self._span(rng, width)
            mask[y : y + box_height, x : x + box_width] = True
        return mask

    def _span(self, rng: np.random.Generator, side: int) -> tuple[int, int]:
        """Start and length along one axis."""
        longest = max(1, min(self.max_size, side - 2 * self.margin))
        length = int(rng.integers(min(self.min_size, longest), longest + 1))
        low, high = (self.margin, side - self.margin - length) if side > 2 * self.margin else (0, side - length)
        return int(rng.integers(low, high + 1)), length


@dataclass(frozen=True)
class ShapeMask:
    """Outlines of real objects, scaled, mirrored, turned, grown as `objremove.masks` grows them, and put anywhere.

    Attributes:
        shapes: draws the tight mask (h, w) of an object.
        size: range of the longer side, as a share of the window's shorter side.
        max_times: most objects in one hole.
        rotation: largest angle in degrees.
        growth: range of the dilation radius, as a share of the object's longer side.
    """

    shapes: Callable[[np.random.Generator], Mask]
    size: tuple[float, float] = (0.15, 0.65)
    max_times: int = 3
    rotation: float = 25.0
    growth: tuple[float, float] = (0.01, 0.08)

    def __call__(self, rng: np.random.Generator, height: int, width: int) -> Mask:
        """Draw a hole."""
        canvas = np.zeros((height, width), np.uint8)
        for _ in range(int(rng.integers(1, self.max_times + 1))):
            shape = self.shapes(rng)
            longer = rng.uniform(*self.size) * min(height, width)
            scale = longer / max(shape.shape)
            mirror = -1.0 if rng.random() < 0.5 else 1.0
            angle = math.radians(rng.uniform(-self.rotation, self.rotation))
            turn = scale * np.array(
                [[math.cos(angle) * mirror, -math.sin(angle)], [math.sin(angle) * mirror, math.cos(angle)]]
            )
            target = np.array([rng.uniform(0, width), rng.uniform(0, height)])
            shift = target - turn @ (np.array(shape.shape[::-1]) / 2)
            placed = cv2.warpAffine(
                shape.astype(np.uint8), np.column_stack((turn, shift)), (width, height), flags=cv2.INTER_NEAREST
            )
            radius = max(1, round(rng.uniform(*self.growth) * longer))
            brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
            canvas = np.maximum(canvas, np.asarray(cv2.dilate(placed, brush), np.uint8))
        return canvas.astype(np.bool_)


@dataclass(frozen=True)
class MixedMask:
    """One of several generators, drawn anew for each hole with the given relative frequencies."""

    generators: Sequence[MaskGenerator]
    weights: Sequence[float]

    def __call__(self, rng: np.random.Generator, height: int, width: int) -> Mask:
        """Draw a hole; one without a pixel or without context is drawn again."""
        shares = np.asarray(self.weights, np.float64) / np.sum(self.weights)
        while True:
            mask = self.generators[int(rng.choice(len(shares), p=shares))](rng, height, width)
            if 0 < mask.mean() < 1:
                return mask


LARGE_IRREGULAR, LARGE_BOXES = IrregularMask(), BoxMask()
NARROW_IRREGULAR = IrregularMask(max_len=80, max_width=40, min_times=4, max_times=12)
NARROW_BOXES = BoxMask(margin=0, min_size=30, max_size=128, max_times=1)

LARGE = MixedMask((LARGE_IRREGULAR, LARGE_BOXES), (1.0, 1.0))
"""The masks that Big LaMa was trained with."""

NARROW = MixedMask((NARROW_IRREGULAR, NARROW_BOXES), (1.0, 1.0))
"""The masks of the ablation without wide holes, after DeepFill v2."""


def make_masks(config: MaskConfig, shapes: Callable[[np.random.Generator], Mask] | None) -> MixedMask:
    """The mixture that a configuration asks for; `shapes` draws objects and may be None where no share of them is asked for.

    Raises:
        ValueError: shapes are asked for and there are none, or every share is 0.
    """
    kinds: list[tuple[MaskGenerator, float]] = [
        (LARGE_IRREGULAR, config.large_irregular),
        (LARGE_BOXES, config.large_boxes),
        (NARROW_IRREGULAR, config.narrow_irregular),
        (NARROW_BOXES, config.narrow_boxes),
    ]
    if config.shapes:
        if shapes is None:
            raise ValueError("masks.shapes needs photos with labels")
        kinds.append((ShapeMask(shapes), config.shapes))
    kinds = [(generator, weight) for generator, weight in kinds if weight > 0]
    if not kinds:
        raise ValueError("every share of masks is 0")
    return MixedMask(*zip(*kinds, strict=True))
