"""What becomes of the labels around a hole.

An object whose mask the hole took a part of keeps the rest: mask minus hole, and a box whose sides move only where the mask's did.
Where less than a given share of it is left, its label goes too. A box without a mask does not say which of its pixels are the
object's, so it stays as it was and is flagged, or goes where the hole covers nearly all of it.
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
    """

    key: Key
    label: str
    visible: float
    became: Literal["recomputed", "flagged", "dropped"]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"id": self.key, "label": self.label, "visible": round(self.visible, 4), "became": self.became}


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
    size = (hole.shape[0], hole.shape[1])
    neighbours: list[Neighbour] = []
    changed: dict[Key, Change] = {}
    for one in annotations:
        if one.key in gone:
            continue
        whole = one.instance(size)
        if whole is None:
            visible = _visible_box(one, hole)
            if visible < 1:
                became: Literal["flagged", "dropped"] = "dropped" if visible < min_visible else "flagged"
                neighbours.append(Neighbour(one.key, one.label, visible, became))
            continue
        left = whole.minus(hole)
        if left is whole:
            continue
        visible = 0.0 if left is None else left.area / whole.area
        if left is None or visible < min_visible:
            neighbours.append(Neighbour(one.key, one.label, visible, "dropped"))
            continue
        neighbours.append(Neighbour(one.key, one.label, visible, "recomputed"))
        outline = outlined(left.mask, one.segmentation or [])
        changed[one.key] = Change(moved(one.box, whole, left), outline, left.area)
    return Surgery(tuple(neighbours), changed)


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
