"""`Sample` and `Annotation`: one photo with its labels, whatever format they came in.

Boxes are (x0, y0, x1, y1) in pixels of the photo, floats, (0, 0) its top-left corner, x1 and y1 exclusive. Outlines are what COCO
has: a list of polygons or a run-length encoding. Each format's room translates both ways; the text of what is not changed
never passes through here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from objremove.errors import DatasetError
from objremove.instances import Instance
from objremove.types import Mask

Box: TypeAlias = tuple[float, float, float, float]
Key: TypeAlias = int | str
Segmentation: TypeAlias = list[list[float]] | dict[str, Any]
"""Polygons, each `[x0, y0, x1, y1, ...]`, or a COCO RLE `{"size": [H, W], "counts": str | bytes | list[int]}`."""


@dataclass(frozen=True, eq=False)
class Annotation:
    """One labelled object.

    Attributes:
        key: its name within its photo, which never changes: COCO's id, or its place in the label file, counted from 1.
        label: class name in the dataset's own words.
        box: see above; None where the format holds only an outline and it is empty.
        segmentation: its outline; None where only the box is known.
        crowd: it stands for many objects that nobody told apart.
        flags: what else the file says of it, e.g. `difficult`, `truncated`.
        keypoints: (x, y) of each in pixels of the photo, in the order of the format; None for one that nobody labelled.
        record: the format's own record.
    """

    key: Key
    label: str
    box: Box | None
    segmentation: Segmentation | None = None
    crowd: bool = False
    flags: tuple[str, ...] = ()
    keypoints: tuple[tuple[float, float] | None, ...] = ()
    record: Any = None

    def instance(self, size: tuple[int, int]) -> Instance | None:
        """The object in a photo of `size` = (H, W); None where only its box is known, or where it covers no pixel."""
        if self.segmentation is None:
            return None
        return Instance.from_mask(decode(self.segmentation, size), label=self.label, source="annotation")

    def pixel_box(self, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
        """The pixels that the box touches, clipped to a photo of `size` = (H, W); None where there are none."""
        if self.box is None or not np.isfinite(self.box).all():
            return None
        x0, y0 = max(0, int(np.floor(self.box[0] + 0.01))), max(0, int(np.floor(self.box[1] + 0.01)))
        x1, y1 = min(size[1], int(np.ceil(self.box[2] - 0.01))), min(size[0], int(np.ceil(self.box[3] - 0.01)))
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def box_iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / max(1e-9, both - width * height)


@dataclass(frozen=True, eq=False)
class Sample:
    """One photo and its labels.

    Attributes:
        name: the photo's path below its image folder, with `/`; unique within the dataset.
        path: where the photo is.
        size: (H, W) that the labels are drawn for; None where the file doesn't say.
        annotations: in the order of the file.
        record: the format's own record of the photo.
        files: the label files that speak of this photo alone, those that are there.
    """

    name: str
    path: Path
    size: tuple[int, int] | None
    annotations: tuple[Annotation, ...]
    record: Any = None
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False)
class Change:
    """What an annotation that stays becomes, because the hole took a part of it.

    Attributes:
        box: sides that didn't move are the annotation's own, to the last bit.
        segmentation: the outline that is left; None where it has none, or all of it is left.
        area: pixels that are left; None like the outline.
        lost_keypoints: places, from 0 on, of the keypoints that lay in the hole.
    """

    box: Box | None
    segmentation: Segmentation | None
    area: int | None
    lost_keypoints: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "box": self.box and list(self.box),
            "segmentation": self.segmentation,
            "area": self.area,
            "lost_keypoints": list(self.lost_keypoints),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Change:
        """The inverse of `to_dict`."""
        box, lost = data["box"], tuple(data.get("lost_keypoints", ()))
        return cls(None if box is None else (box[0], box[1], box[2], box[3]), data["segmentation"], data["area"], lost)


@dataclass(frozen=True, eq=False)
class Edit:
    """One photo of the result: which sample it was, and what became of its labels.

    Attributes:
        source: name of the sample.
        name: name of the photo that results; another than the source's makes it a new photo with new ids.
        removed: keys of the annotations that are gone.
        changed: by key, those that stay and are no longer what they were.
    """

    source: str
    name: str
    removed: frozenset[Key] = frozenset()
    changed: Mapping[Key, Change] = field(default_factory=dict)


_FARTHEST = 10
"""Points of an outline farther away than so many times the photo's longer side are taken for damage."""


def decode(segmentation: Segmentation, size: tuple[int, int]) -> Mask:
    """(H, W) bool: the pixels inside an outline, as pycocotools counts them.

    Raises:
        DatasetError: it is drawn for a photo of another size, or is no outline at all.
    """
    from pycocotools import mask as coco_mask

    height, width = size
    try:
        if isinstance(segmentation, dict):
            if tuple(segmentation["size"]) != size:
                raise DatasetError(f"an outline is drawn for {segmentation['size']} (H, W), the photo has {list(size)}")
            counts = segmentation["counts"]
            runs = counts if isinstance(counts, list) else _runs(counts)
            if sum(runs) != height * width or min(runs, default=0) < 0:
                raise DatasetError(f"a run-length encoding covers {sum(runs)} pixels of {height * width}")
            rle = coco_mask.frPyObjects(segmentation, height, width) if runs is counts else segmentation
        else:
            # Fewer than three points enclose nothing, and pycocotools would read four numbers as a box.
            polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
            if not polygons:
                return np.zeros(size, np.bool_)
            # What is far away or no number at all, pycocotools would draw until the memory ends.
            if not all(np.abs(np.asarray(polygon, np.float64)).max() < _FARTHEST * max(size) for polygon in polygons):
                raise DatasetError("an outline has points far outside of the photo, or such that are no numbers")
            rle = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        return np.asarray(coco_mask.decode(rle), np.bool_)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DatasetError(f"an outline cannot be read ({error})") from None


def _runs(counts: str | bytes) -> list[int]:
    """The runs in COCO's compressed form: five bits and one for "more" in each character, from the third on less the one before last.

    pycocotools reads no farther than they say, and leaves the rest of the mask to chance: so they are counted here.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode() if isinstance(counts, str) else counts:
        bits = character - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{chr(character)!r} in a run-length encoding")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("a run-length encoding ends within a number")
    return runs


def encode(mask: Mask) -> dict[str, Any]:
    """(H, W) bool as compressed COCO RLE, ready for JSON."""
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in mask.shape], "counts": rle["counts"].decode("ascii")}


def trace(mask: Mask) -> list[list[float]]:
    """Polygons around the parts of an (H, W) bool mask, within a quarter of a pixel of its edges; gaps are not drawn."""
    import cv2

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return []
    top, left = int(rows[0]), int(columns[0])
    crop = mask[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.uint8)
    # OpenCV's contours join the centres of border pixels. At twice the size those lie a quarter of a pixel inside the edge, so that
    # an object one pixel wide still encloses an area.
    contours, _ = cv2.findContours(crop.repeat(2, 0).repeat(2, 1), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    polygons = []
    for contour in contours:
        points = (cv2.approxPolyDP(contour, 0.5, True)[:, 0] + 0.5) / 2 + (left, top)
        if len(points) >= 3:
            polygons.append([float(value) for value in points.ravel()])
    return polygons


def gaps_in(mask: Mask, polygons: list[list[float]]) -> int:
    """Pixels that polygons around `mask` cover although the mask does not."""
    return int(np.count_nonzero(decode(list(polygons), (mask.shape[0], mask.shape[1])) & ~mask))
