"""The palette masks of Pascal VOC: which object is which value, and how an object leaves them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from objremove.dataset.sample import Box, Key, box_iou
from objremove.errors import DatasetError
from objremove.types import Mask

CLASSES: Final = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""VOC's own names by mask value."""

VOID: Final = 255
"""The value of pixels that are nobody's."""

_LEAST_IOU: Final = 0.5  # of an object's box and the box around its mask: they were drawn apart from each other


def read_indices(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8: the indices of a palette mask."""
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise DatasetError(f"{path}: is no palette mask but {image.mode}")
            return np.array(image, np.uint8)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from None


def read_shapes(masks: Mapping[str, Path]) -> dict[int, tuple[str, Mask]]:
    """Class and mask of each object by its number."""
    objects, classes = read_indices(masks["SegmentationObject"]), read_indices(masks["SegmentationClass"])
    if objects.shape != classes.shape:
        raise DatasetError(f"{masks['SegmentationObject']}: has another size than the mask in SegmentationClass")
    shapes = {}
    for number in np.unique(objects):
        mask = objects == number
        value = int(np.bincount(classes[mask]).argmax())
        if number not in (0, VOID) and 0 < value < len(CLASSES):
            shapes[int(number)] = (CLASSES[value], mask)
    return shapes


def match(shapes: Mapping[int, tuple[str, Mask]], names: Mapping[Key, str], boxes: Mapping[Key, Box]) -> dict[Key, int]:
    """The mask number of each object: of its own class, around the same place; the better match goes first."""
    pairs = [
        (box_iou(box, tight_box(mask)), key == number, number, key)
        for number, (label, mask) in shapes.items()
        for key, box in boxes.items()
        if names[key] == label
    ]
    numbers: dict[Key, int] = {}
    for iou, _, number, key in sorted(pairs, key=lambda pair: (-pair[0], not pair[1], pair[2])):
        if iou >= _LEAST_IOU and key not in numbers and number not in numbers.values():
            numbers[key] = number
    return numbers


def tight_box(mask: Mask) -> Box:
    """The box around an (H, W) bool mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def edited_mask(data: bytes, hole: Mask, gone: Mask) -> bytes:
    """A palette mask with the hole as background; what is left of `gone` around it becomes nobody's."""
    with Image.open(io.BytesIO(data)) as image:
        indices = np.array(image, np.uint8)
        new = np.where(hole, 0, np.where(gone, VOID, indices)).astype(np.uint8)
        if np.array_equal(new, indices):
            return data
        edited = Image.fromarray(new)
        if image.mode == "P":
            edited.putpalette(image.getpalette() or [])
        buffer = io.BytesIO()
        edited.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
