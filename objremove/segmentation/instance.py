"""Instance segmenters: Mask R-CNN (He et al., 2017) finds 80 COCO classes, one box and one small mask for each object.

The network's 28x28 masks are brought to photo scale box by box; torchvision's own paste, which makes a whole-photo float map
for each of up to a hundred objects, is not used.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from objremove.instances import Instance, by_falling_area
from objremove.segmentation.architectures import Architecture
from objremove.segmentation.outline import FloatMap, as_uint8, close_small_gaps, positive_crop, resize
from objremove.types import Pixels

DEFAULT_CONFIDENCE = 0.5
_LONG_SIDE = 1333
_SAME_OBJECT = 0.7  # mask IoU from which two detections are one object


@dataclass(frozen=True)
class Detection:
    """One detection at photo scale: class index, score in 0..1, box (x0, y0, x1, y1) as floats, (m, m) mask probabilities."""

    index: int
    score: float
    box: tuple[float, float, float, float]
    mask: FloatMap


class InstanceSegmenter:
    """A torchvision Mask R-CNN as a `Segmenter`."""

    def __init__(
        self, network: nn.Module, name: str, architecture: Architecture, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        """`network` in eval mode; dtype bfloat16 runs backbone and heads under autocast."""
        self.name = name
        self.classes = tuple(architecture.classes.values())
        self._architecture = architecture
        self._network: Any = network.to(device)
        self._device = device
        self._dtype = dtype

    def find(self, pixels: Pixels, labels: Collection[str], *, confidence: float | None = None) -> list[Instance]:
        """As `Segmenter.find`; the default confidence is 0.5, the network itself answers from 0.05 on.

        Which class an object found twice belongs to is settled among all classes, so that it does not hang on `labels`.
        """
        if not set(labels) & set(self.classes):
            return []
        least = DEFAULT_CONFIDENCE if confidence is None else confidence
        names, size = self._architecture.classes, (pixels.shape[0], pixels.shape[1])
        chosen = [d for d in self._detect(as_uint8(pixels)) if d.index in names and d.score >= least]
        pasted = [paste(d, size, label=names[d.index], source=self.name) for d in chosen]
        objects = distinct([instance for instance in pasted if instance is not None])
        return by_falling_area(instance for instance in objects if instance.label in labels)

    @torch.inference_mode()
    def _detect(self, rgb: Pixels) -> list[Detection]:
        """Every detection in a photo, by falling score."""
        height, width = rgb.shape[:2]
        scale = min(self._architecture.short_side / min(height, width), _LONG_SIDE / max(height, width))
        small = as_uint8(resize(rgb, (max(1, round(height * scale)), max(1, round(width * scale)))))
        image = torch.from_numpy(small).to(self._device).permute(2, 0, 1).float() / 255
        network = self._network
        size = (small.shape[0], small.shape[1])
        batch = network.transform.batch_images([network.transform.normalize(image)], 32)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16):
            features = network.backbone(batch)
        features = {key: value.float() for key, value in features.items()}
        proposals, _ = network.rpn(ImageList(batch, [size]), features)
        found, _ = network.roi_heads(features, proposals, [size])
        ratio = torch.tensor([width / size[1], height / size[0]] * 2)
        return _detections(found[0], ratio)


def settle_scales(network: Any) -> None:
    """Let a Mask R-CNN's poolers tell the scales of their levels, 1/4 to 1/32, by a square.

    They tell them once, by the first photo, from its padded features and its size before that: a long strip misleads them for good.
    """
    for pooler in (network.roi_heads.box_roi_pool, network.roi_heads.mask_roi_pool):
        sides = {name: 256 >> level for level, name in enumerate(pooler.featmap_names, 2)}
        pooler({name: torch.zeros(1, 1, side, side) for name, side in sides.items()}, [torch.zeros(0, 4)], [(256, 256)])


def _detections(found: dict[str, Tensor], ratio: Tensor) -> list[Detection]:
    boxes = (found["boxes"].float().cpu() * ratio).tolist()
    masks = found["masks"][:, 0].float().cpu().numpy()
    rows = zip(found["labels"].tolist(), found["scores"].tolist(), boxes, masks, strict=True)
    return [Detection(index, score, (box[0], box[1], box[2], box[3]), mask) for index, score, box, mask in rows]


def paste(detection: Detection, size: tuple[int, int], *, label: str, source: str) -> Instance | None:
    """The instance of a detection in a photo of `size` = (H, W); None where its mask covers no pixel.

    The mask is bordered with one empty cell and the box grown by as much, so that outlines close inside of it.
    """
    cells = detection.mask.shape[0]
    x0, y0, x1, y1 = detection.box
    margin_x, margin_y = (x1 - x0) / cells, (y1 - y0) / cells
    left, top = round(x0 - margin_x), round(y0 - margin_y)
    right, bottom = max(left + 1, round(x1 + margin_x)), max(top + 1, round(y1 + margin_y))
    bordered = np.pad(detection.mask - np.float32(0.5), 1, constant_values=-0.5)
    found = positive_crop(bordered, (bottom - top, right - left))
    if found is None:
        return None
    crop, (inner_x, inner_y) = found
    x, y = left + inner_x, top + inner_y
    skip_x, skip_y = max(0, -x), max(0, -y)
    crop = crop[skip_y : size[0] - y, skip_x : size[1] - x]
    if not crop.size:
        return None
    return Instance.from_crop(
        close_small_gaps(crop),
        (x + skip_x, y + skip_y),
        size,
        label=label,
        score=detection.score,
        boundary_error=max(margin_x, margin_y) / 2,
        source=source,
    )


def distinct(instances: Sequence[Instance]) -> list[Instance]:
    """`instances` without those whose mask is mostly that of one with a higher score: one object, found twice."""
    kept: list[Instance] = []
    for instance in sorted(instances, key=lambda each: -each.score):
        if all(mask_iou(instance, other) < _SAME_OBJECT for other in kept):
            kept.append(instance)
    return kept


def mask_iou(first: Instance, second: Instance) -> float:
    """Intersection over union of two masks of one photo, 0..1, computed where their boxes overlap."""
    x0, y0 = max(first.box[0], second.box[0]), max(first.box[1], second.box[1])
    x1, y1 = min(first.box[2], second.box[2]), min(first.box[3], second.box[3])
    if x0 >= x1 or y0 >= y1:
        return 0.0
    parts = [i.crop[y0 - i.box[1] : y1 - i.box[1], x0 - i.box[0] : x1 - i.box[0]] for i in (first, second)]
    shared = int(np.count_nonzero(parts[0] & parts[1]))
    return shared / (first.area + second.area - shared)
