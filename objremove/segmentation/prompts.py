"""From an instance to the prompts that describe it: a box a little larger, points well inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np

from objremove.instances import Instance

Points: TypeAlias = Sequence[tuple[int, int, bool]]
"""(x, y, positive) in photo pixels."""

_WORK_SIDE = 256  # distances are measured on a crop of at most this side


def grown_box(instance: Instance, share: float, *, least: float) -> tuple[int, int, int, int]:
    """The instance's box grown on each side by `share` of its own extent, at least by `least` pixels, inside the photo."""
    x0, y0, x1, y1 = instance.box
    across = round(max(share * (x1 - x0), least))
    down = round(max(share * (y1 - y0), least))
    height, width = instance.size
    return max(0, x0 - across), max(0, y0 - down), min(width, x1 + across), min(height, y1 + down)


def inner_points(
    instance: Instance, count: int, *, inside: tuple[int, int, int, int] | None = None
) -> list[tuple[int, int]]:
    """Up to `count` pixels (x, y) of the mask, each as far from its outline and from the ones before as can be.

    Maxima of the distance transform: the centroid of a mask may lie outside of it. With `inside`, only the part of the mask
    within that box (x0, y0, x1, y1) counts.
    """
    left, top, right, bottom = instance.box
    if inside is not None:
        left, top = max(left, inside[0]), max(top, inside[1])
        right, bottom = min(right, inside[2]), min(bottom, inside[3])
    if left >= right or top >= bottom:
        return []
    crop = instance.crop[
        top - instance.box[1] : bottom - instance.box[1], left - instance.box[0] : right - instance.box[0]
    ]
    step = max(1, -(-max(crop.shape) // _WORK_SIDE))
    free = np.pad(crop[::step, ::step].astype(np.uint8), 1)
    points: list[tuple[int, int]] = []
    for _ in range(count):
        distance = cv2.distanceTransform(free, cv2.DIST_L2, 5)
        y, x = np.unravel_index(int(distance.argmax()), distance.shape)
        radius = float(distance[y, x])
        if radius < 1 or (points and radius < 3):
            break
        points.append((left + (int(x) - 1) * step, top + (int(y) - 1) * step))
        cv2.circle(free, (int(x), int(y)), int(np.ceil(radius)), 0, cv2.FILLED)
    return points
