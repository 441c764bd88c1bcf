"""The parts of a training sample: finding them in any nesting, and putting edited ones in their places.

Boxes and masks come as `tv_tensors`, as tensors, as arrays or as lists; every one goes back as the kind that it was, and entries that
don't change keep their exact values.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from objremove.dataset.sample import Box
from objremove.errors import UsageError
from objremove.types import Mask

BoxFormat = Literal["pascal_voc", "coco", "yolo", "albumentations"]
"""How rows of plain numbers describe a box, by albumentations' names."""

_UPRIGHT: Final = ("XYXY", "XYWH", "CXCYWH")


@dataclass(eq=False)
class Parts:
    """The parts of a sample that are edited together; each is found again by its identity."""

    labels_key: str
    also: Collection[str]
    image: Any = None
    boxes: Any = None
    masks: Any = None
    labels: Any = None
    others: list[Any] | None = None
    box_format: BoxFormat = "pascal_voc"

    def collect(self, sample: Any) -> None:
        """Find the parts in a nested sample."""
        leaves: list[tuple[Any, Any]] = []
        self.others = []
        _walk(sample, None, leaves, {self.labels_key, *self.also})
        images = [leaf for _, leaf in leaves if isinstance(leaf, tv_tensors.Image | Image.Image)]
        plain = [leaf for _, leaf in leaves if type(leaf) is torch.Tensor and leaf.ndim >= 3]
        self.image = next(iter(images or plain), None)
        boxes = [leaf for _, leaf in leaves if isinstance(leaf, tv_tensors.BoundingBoxes)]
        masks = [leaf for _, leaf in leaves if isinstance(leaf, tv_tensors.Mask)]
        if len(images) > 1 or len(boxes) > 1 or len(masks) > 1:
            raise UsageError("the sample has several images, boxes or masks: give one of each")
        self.boxes, self.masks = next(iter(boxes), None), next(iter(masks), None)
        self.labels = next((leaf for key, leaf in leaves if key == self.labels_key), None)
        self.others = [leaf for key, leaf in leaves if key in self.also]

    def corners(self, size: tuple[int, int]) -> list[Box] | None:
        """The boxes as (x0, y0, x1, y1) in pixels; for rotated ones those around them."""
        if self.boxes is None:
            return None
        if isinstance(self.boxes, tv_tensors.BoundingBoxes):
            rows = _corner_rows(self.boxes)
        else:
            rows = [list(_from_albumentations(row, self.box_format, size)) for row in self.boxes]
        return [(float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in rows]

    def arrays(self, size: tuple[int, int]) -> list[Mask] | None:
        """The masks as (H, W) bool."""
        if self.masks is None:
            return None
        masks = [np.asarray(mask) > 0 for mask in (self.masks.cpu() if torch.is_tensor(self.masks) else self.masks)]
        if any(mask.shape != size for mask in masks):
            raise UsageError(f"masks are {masks[0].shape}, the image {size}: give (N, H, W), one mask for each object")
        return masks

    def rebuilt(
        self, keep: list[int], boxes: Mapping[int, Box], masks: Mapping[int, Mask], size: tuple[int, int]
    ) -> dict[int, Any]:
        """What takes the place of boxes, masks, labels and the rest, by their identity."""
        new: dict[int, Any] = {}
        if self.boxes is not None:
            is_tensor = isinstance(self.boxes, tv_tensors.BoundingBoxes)
            moved = (
                _moved_tensor(self.boxes, boxes) if is_tensor else _moved_rows(self.boxes, boxes, self.box_format, size)
            )
            new[id(self.boxes)] = _picked(moved, keep)
        if self.masks is not None:
            new[id(self.masks)] = _picked(_redrawn(self.masks, masks), keep)
        for part in (self.labels, *(self.others or ())):
            if len(part) == len(self.labels):
                new[id(part)] = _picked(part, keep)
        return new


# ---------------------------------------------------------------------- nests


def _walk(node: Any, key: Any, leaves: list[tuple[Any, Any]], whole: Collection[str]) -> None:
    """Gather the leaves of a nest with the keys that they stand under; what stands under a key in `whole` is one leaf."""
    if key in whole or not isinstance(node, dict | list | tuple):
        leaves.append((key, node))
    elif isinstance(node, dict):
        for name, value in node.items():
            _walk(value, name, leaves, whole)
    else:
        for value in node:
            _walk(value, None, leaves, whole)


def replaced(node: Any, new: Mapping[int, Any]) -> Any:
    """The nest with some of its parts replaced."""
    if id(node) in new:
        return new[id(node)]
    if isinstance(node, dict):
        return {name: replaced(value, new) for name, value in node.items()}
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return type(node)(*(replaced(value, new) for value in node))
    if isinstance(node, list | tuple):
        return type(node)(replaced(value, new) for value in node)
    return node


def _picked(values: Any, keep: list[int]) -> Any:
    """The entries at the places `keep`, in a container of the same kind."""
    if isinstance(values, tv_tensors.TVTensor):
        return tv_tensors.wrap(values.as_subclass(torch.Tensor)[keep], like=values)
    if torch.is_tensor(values) or isinstance(values, np.ndarray):
        return values[keep]
    return type(values)(values[place] for place in keep)


# ---------------------------------------------------------------------- images


def bare_image(image: Any) -> Any:
    """The image without what would turn it: labels are drawn for its pixels as they lie in memory."""
    if isinstance(image, Image.Image):
        bare = image.copy()
        bare.info = {name: value for name, value in image.info.items() if name == "transparency"}
        return bare
    return image.as_subclass(torch.Tensor) if isinstance(image, tv_tensors.TVTensor) else image


def image_size(image: Any) -> tuple[int, int]:
    """(H, W) of a PIL image, a (..., H, W) tensor or an (H, W[, C]) array."""
    if isinstance(image, Image.Image):
        return image.height, image.width
    if torch.is_tensor(image):
        return int(image.shape[-2]), int(image.shape[-1])
    return int(image.shape[0]), int(image.shape[1])


def like_image(source: Any, edited: Any) -> Any:
    """The edited image as the source's kind."""
    if isinstance(source, tv_tensors.TVTensor):
        return tv_tensors.wrap(edited, like=source)
    if isinstance(source, Image.Image):
        edited.info = dict(source.info)
    return edited


# ---------------------------------------------------------------------- boxes and masks


def _corner_rows(boxes: tv_tensors.BoundingBoxes) -> list[list[float]]:
    if boxes.format.name in _UPRIGHT:
        flat = F.convert_bounding_box_format(boxes, new_format=tv_tensors.BoundingBoxFormat.XYXY)
        rows: list[list[float]] = flat.as_subclass(torch.Tensor).tolist()
        return rows
    eight = F.convert_bounding_box_format(boxes, new_format=tv_tensors.BoundingBoxFormat.XYXYXYXY).as_subclass(
        torch.Tensor
    )
    xs, ys = eight[:, 0::2], eight[:, 1::2]
    around: list[list[float]] = torch.stack([xs.amin(1), ys.amin(1), xs.amax(1), ys.amax(1)], dim=1).tolist()
    return around


def _moved_tensor(boxes: tv_tensors.BoundingBoxes, moved: Mapping[int, Box]) -> tv_tensors.BoundingBoxes:
    """The boxes with some moved; rotated ones stay, for what is left of an object has no known angle."""
    if not moved or boxes.format.name not in _UPRIGHT:
        return boxes
    rows = boxes.as_subclass(torch.Tensor).clone()
    places = list(moved)
    corners = torch.tensor([moved[place] for place in places], dtype=rows.dtype, device=rows.device)
    upright = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=boxes.canvas_size)
    rows[places] = F.convert_bounding_box_format(upright, new_format=boxes.format).as_subclass(torch.Tensor)
    return tv_tensors.wrap(rows, like=boxes)


def _from_albumentations(row: Any, format: BoxFormat, size: tuple[int, int]) -> tuple[float, float, float, float]:
    a, b, c, d = (float(value) for value in row[:4])
    height, width = size
    if format == "coco":
        return a, b, a + c, b + d
    if format == "yolo":
        return (a - c / 2) * width, (b - d / 2) * height, (a + c / 2) * width, (b + d / 2) * height
    return (a * width, b * height, c * width, d * height) if format == "albumentations" else (a, b, c, d)


def _to_albumentations(box: Box, format: BoxFormat, size: tuple[int, int]) -> tuple[float, float, float, float]:
    (x0, y0, x1, y1), (height, width) = box, size
    if format == "coco":
        return x0, y0, x1 - x0, y1 - y0
    if format == "yolo":
        return (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height
    return (x0 / width, y0 / height, x1 / width, y1 / height) if format == "albumentations" else box


def _moved_rows(rows: Any, moved: Mapping[int, Box], format: BoxFormat, size: tuple[int, int]) -> Any:
    if isinstance(rows, np.ndarray):
        edited: NDArray[Any] = rows.copy()
        for place, box in moved.items():
            edited[place, :4] = _to_albumentations(box, format, size)
        return edited
    new = {place: _to_albumentations(box, format, size) for place, box in moved.items()}
    return type(rows)(type(row)([*new[place], *row[4:]]) if place in new else row for place, row in enumerate(rows))


def _redrawn(masks: Any, changed: Mapping[int, Mask]) -> Any:
    """The masks with some of their pixels gone; a value that stood for the object stays the value."""
    if not changed:
        return masks
    if torch.is_tensor(masks):
        planes = masks.as_subclass(torch.Tensor).clone()
        for place, mask in changed.items():
            planes[place] *= torch.from_numpy(mask).to(planes.device, planes.dtype)
        return tv_tensors.wrap(planes, like=masks) if isinstance(masks, tv_tensors.TVTensor) else planes
    redrawn = [
        mask * changed[place].astype(mask.dtype) if place in changed else mask for place, mask in enumerate(masks)
    ]
    return np.stack(redrawn) if isinstance(masks, np.ndarray) else type(masks)(redrawn)
