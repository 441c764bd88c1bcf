"""What becomes of the labels around a hole.

An object whose mask the hole took a part of keeps the rest: mask minus hole, and a box whose sides move only where the mask's did.
Where less than a given share of it is left, its label goes too. A box without a mask does not say which of its pixels are the
object's, so it stays as it was and is flagged, or goes where the hole covers nearly all of it. Keypoints in the hole are lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from objremove.dataset.sample import Annotation, Box, Change, Key, Segmentation, encode, gaps_in, trace
from objremove.instances import Instance
from objremove.types import Mask

MIN_VISIBLE = 0.25
"""Least share of a neighbour's pixels that must be left for its label to stay."""

MOST_GAPS = 0.01
"""Share of an object's area that polygons may cover too much, having no gaps; with more the outline becomes an RLE."""


@dataclass(frozen=True)
class Neighbour:
    """An annotation that stays in part, or doesn't.

    Attributes:
        visible: share of its mask, or else of its box, that lies outside the hole.
        became: `recomputed`; `flagged`, a box that was left as it was; `dropped`, less than the least share is visible.
        lost_keypoints: how many of its keypoints lay in the hole.
    """

    key: Key
    label: str
    visible: float
    became: Literal["recomputed", "flagged", "dropped"]
    lost_keypoints: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data = {"id": self.key, "label": self.label, "visible": round(self.visible, 4), "became": self.became}
        return {**data, "lost_keypoints": self.lost_keypoints} if self.lost_keypoints else data


@dataclass(frozen=True, eq=False)
class Surgery:
    """What a hole does to the annotations that were not meant to go."""

    neighbours: tuple[Neighbour, ...] = ()
    changed: Mapping[Key, Change] = field(default_factory=dict)

    @property
    def dropped(self) -> frozenset[Key]:
        """Keys of those that the hole covers."""
        return frozenset(one.key for one in self.neighbours if one.became == "dropped")


def operate(
    annotations: Iterable[Annotation], hole: Mask, gone: Collection[Key], *, min_visible: float = MIN_VISIBLE
) -> Surgery:
    """Recompute, flag or drop the annotations that a hole touches.

    Args:
        annotations: all of a photo.
        hole: (H, W) bool, what was filled.
        gone: keys of those that were removed: they are not looked at.
        min_visible: see `MIN_VISIBLE`, 0..1.
    """
    neighbours: list[Neighbour] = []
    changed: dict[Key, Change] = {}
    for one in annotations:
        if one.key in gone:
            continue
        visible, change = _left(one, hole)
        if visible < min_visible or not visible:
            neighbours.append(Neighbour(one.key, one.label, visible, "dropped"))
        elif visible < 1 or change is not None:
            lost = 0 if change is None else len(change.lost_keypoints)
            is_box = visible < 1 and (change is None or change.segmentation is None)
            neighbours.append(Neighbour(one.key, one.label, visible, "flagged" if is_box else "recomputed", lost))
            changed |= {} if change is None else {one.key: change}
    return Surgery(tuple(neighbours), changed)


def _left(one: Annotation, hole: Mask) -> tuple[float, Change | None]:
    """The share of an annotation, 0..1, that is visible beside a hole, and what changes in it; None where nothing does."""
    lost = tuple(place for place, point in enumerate(one.keypoints) if point is not None and _holds(hole, point))
    whole = one.instance((hole.shape[0], hole.shape[1]))
    left = None if whole is None else whole.minus(hole)
    if whole is None or left is whole:
        visible = 1.0 if whole is not None else _visible_box(one, hole)
        return visible, Change(one.box, None, None, lost) if lost else None
    if left is None:
        return 0.0, None
    outline = outlined(left.mask, one.segmentation or [])
    return left.area / whole.area, Change(moved(one.box, whole, left), outline, left.area, lost)


def _holds(hole: Mask, point: tuple[float, float]) -> bool:
    """Whether the pixel (x, y) lies in a hole."""
    x, y = int(point[0]), int(point[1])
    return 0 <= y < hole.shape[0] and 0 <= x < hole.shape[1] and bool(hole[y, x])


def moved(box: Box | None, whole: Instance, left: Instance) -> Box | None:
    """The annotated box with those sides moved that are no longer the mask's; never outwards."""
    if box is None:
        return None
    (a0, b0, a1, b1), (was, now) = box, (whole.box, left.box)
    x0 = a0 if now[0] == was[0] else max(a0, float(now[0]))
    y0 = b0 if now[1] == was[1] else max(b0, float(now[1]))
    x1 = a1 if now[2] == was[2] else min(a1, float(now[2]))
    y1 = b1 if now[3] == was[3] else min(b1, float(now[3]))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else (*map(float, now),)  # type: ignore[return-value]


def outlined(mask: Mask, like: Segmentation) -> Segmentation:
    """The outline of an (H, W) bool mask in the manner of `like`: polygons, or an RLE; an RLE too where polygons would close gaps."""
    if isinstance(like, dict):
        return encode(mask)
    polygons = trace(mask)
    if gaps_in(mask, polygons) > MOST_GAPS * np.count_nonzero(mask):
        return encode(mask)
    return polygons


def _visible_box(one: Annotation, hole: Mask) -> float:
    """Share of the box that lies outside the hole."""
    box = one.pixel_box((hole.shape[0], hole.shape[1]))
    if box is None:
        return 1.0
    x0, y0, x1, y1 = box
    return 1 - float(hole[y0:y1, x0:x1].mean())
