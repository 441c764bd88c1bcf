"""`Instance`: one found object. Its mask is kept cropped to its box, so that a hundred objects in a 100-megapixel photo stay small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from objremove.arguments import check
from objremove.errors import UsageError
from objremove.types import Mask


@dataclass(frozen=True, eq=False)
class Instance:
    """One object in one photo.

    Attributes:
        label: class name as in `objremove.classes.NAMES`, or what prompted it (`point`, `box`, `mask`).
        score: confidence in 0..1.
        box: (x0, y0, x1, y1) in pixels of the upright photo; x1 and y1 are exclusive; tight around the mask.
        crop: (y1 - y0, x1 - x0) bool, the mask inside the box. Never written to.
        size: (H, W) of the photo.
        boundary_error: half the uncertainty of the outline in pixels (a segmenter's stride brought to photo scale); the
            dilation takes it into account.
        source: name of the model that drew the mask.
        second_look: whether it was found only because its class was named; see `objremove.segmentation.SecondLook`.
        extends: whether it holds more of an object that the first look found, too: together they count as one.
    """

    label: str
    score: float
    box: tuple[int, int, int, int]
    crop: Mask
    size: tuple[int, int]
    boundary_error: float = 0.0
    source: str = ""
    second_look: bool = False
    extends: bool = False

    @classmethod
    def from_mask(
        cls, mask: Mask, *, label: str, score: float = 1.0, boundary_error: float = 0.0, source: str = ""
    ) -> Instance | None:
        """The instance of a whole-photo (H, W) bool mask, or None where the mask is empty."""
        size = (mask.shape[0], mask.shape[1])
        return cls.from_crop(mask, (0, 0), size, label=label, score=score, boundary_error=boundary_error, source=source)

    @classmethod
    def from_crop(
        cls,
        crop: Mask,
        offset: tuple[int, int],
        size: tuple[int, int],
        *,
        label: str,
        score: float = 1.0,
        boundary_error: float = 0.0,
        source: str = "",
    ) -> Instance | None:
        """The instance of a mask that covers a part of the photo, its top-left corner at `offset` = (x, y); None where empty."""
        rows, columns = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
        if not rows.size:
            return None
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        box = (offset[0] + left, offset[1] + top, offset[0] + right, offset[1] + bottom)
        return cls(label, float(score), box, crop[top:bottom, left:right].copy(), size, boundary_error, source)

    @property
    def area(self) -> int:
        """Pixels that the mask covers."""
        return int(np.count_nonzero(self.crop))

    @property
    def mask(self) -> Mask:
        """(H, W) bool over the whole photo; made anew at each call."""
        full = np.zeros(self.size, dtype=np.bool_)
        self.paint(full)
        return full

    @property
    def rle(self) -> dict[str, Any]:
        """COCO run-length encoding, compressed: `{"size": [H, W], "counts": str}`."""
        from pycocotools import mask as coco_mask

        encoded = coco_mask.encode(np.asfortranarray(self.mask, dtype=np.uint8))
        return {"size": list(self.size), "counts": encoded["counts"].decode("ascii")}

    def paint(self, target: Mask) -> None:
        """Set True in `target`, (H, W) bool, wherever the mask is."""
        x0, y0, x1, y1 = self.box
        target[y0:y1, x0:x1] |= self.crop

    def covers(self, x: int, y: int) -> bool:
        """Whether the mask holds the pixel (x, y)."""
        x0, y0, x1, y1 = self.box
        return x0 <= x < x1 and y0 <= y < y1 and bool(self.crop[y - y0, x - x0])

    def minus(self, mask: Mask) -> Instance | None:
        """What of it lies outside a mask, (H, W) bool: itself where all of it does, None where nothing does."""
        x0, y0, x1, y1 = self.box
        left = self.crop & ~mask[y0:y1, x0:x1]
        if np.array_equal(left, self.crop):
            return self
        part = Instance.from_crop(left, (x0, y0), self.size, label=self.label)
        return part and replace(self, box=part.box, crop=part.crop)

    def relabelled(self, label: str) -> Instance:
        """The same object under another label."""
        return replace(self, label=label)

    def to_dict(self, *, rle: bool = True) -> dict[str, Any]:
        """Plain data for JSON: label, score, box (XYXY), area, source, second_look, extends and, unless `rle` is false, segmentation."""
        data: dict[str, Any] = {
            "label": self.label,
            "score": round(self.score, 4),
            "box": list(self.box),
            "area": self.area,
            "source": self.source,
            "second_look": self.second_look,
            "extends": self.extends,
        }
        return {**data, "segmentation": self.rle} if rle else data


def count_objects(instances: Iterable[Instance]) -> Counter[str]:
    """How many objects of each label; what extends one counts with it."""
    return count_labels((one.label, one.extends) for one in instances)


def count_labels(pairs: Iterable[tuple[str, bool]]) -> Counter[str]:
    """As `count_objects`, for the label and `extends` of each."""
    counts: Counter[str] = Counter()
    for label, extends in pairs:
        counts[label] += not extends
    return Counter({label: max(1, count) for label, count in counts.items()})


def left_of(instances: Iterable[Instance], staying: Sequence[Instance]) -> list[Instance]:
    """What is left of each instance outside of what stays in the same photo."""
    if not staying:
        return list(instances)
    mask = union(staying, staying[0].size)
    return [part for one in instances if (part := one.minus(mask))]


def union(instances: Iterable[Instance], size: tuple[int, int]) -> Mask:
    """(H, W) bool: what instances of a photo of `size` = (H, W) cover together."""
    mask = np.zeros(size, np.bool_)
    for one in instances:
        one.paint(mask)
    return mask


def check_sizes(instances: Iterable[Any], size: tuple[int, int]) -> None:
    """Raise UsageError unless all are instances of a photo of `size` = (H, W)."""
    for one in instances:
        check("instance", one, Instance, lambda value: True, "an Instance, such as Instance.from_mask makes")
        if one.size != size:
            raise UsageError(f"an instance of a photo of {one.size} (H, W) for one of {size}: scale its mask first")


def by_falling_area(instances: Iterable[Instance]) -> list[Instance]:
    """The order in which instances are numbered: largest first; equal areas from the top left."""
    return sorted(instances, key=lambda one: (-one.area, one.box[1], one.box[0], one.label))
