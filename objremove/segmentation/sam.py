"""Segment Anything (Kirillov et al., 2023) as a `Prompter`: points, boxes, and sharper outlines for found instances.

The photo is embedded once, at a long side of 1024; prompts are cheap after that. Masks come as 256x256 logits and are brought
to photo scale only where they are positive.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from objremove import models
from objremove.errors import ModelError
from objremove.forks import renew_in_children
from objremove.instances import Instance
from objremove.segmentation.attention import bound_attention_memory
from objremove.segmentation.base import BOX_LABEL
from objremove.segmentation.instance import mask_iou
from objremove.segmentation.outline import FloatMap, as_uint8, close_small_gaps, positive_crop, resize
from objremove.segmentation.prompts import Points, grown_box, inner_points
from objremove.segmentation.weights import State, load_state, read_state
from objremove.types import Pixels

FRAME = 1024
"""Side of the square frame, padded at the bottom and right, that the encoder sees."""

_BUILDERS: Final = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}  # by the width of the encoder
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_KEPT_EMBEDDINGS = 4
_LEAST_IOU = 0.5  # with the instance that is to be sharpened
_LEAST_QUALITY = 0.8  # SAM's own estimate of its mask's IoU
_THIN = frozenset({"bicycle", "chair"})
_CELL = FRAME / 256


@dataclass(frozen=True)
class Embedding:
    """A photo as the mask decoder sees it: (1, 256, 64, 64) features, its (H, W) and its (h, w) inside the frame."""

    features: Tensor
    size: tuple[int, int]
    inner: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        """Frame pixels for each photo pixel, (x, y)."""
        return self.inner[1] / self.size[1], self.inner[0] / self.size[0]


class SamPrompter:
    """A `segment_anything` model as a `Prompter`."""

    def __init__(self, model: Any, name: str, *, device: torch.device, dtype: torch.dtype) -> None:
        """`model` in eval mode; dtype bfloat16 runs the image encoder under autocast, the decoder stays in float32."""
        self.name = name
        self._model = model.to(device)
        bound_attention_memory(self._model.image_encoder)
        self._device = device
        self._dtype = dtype
        self._embeddings: OrderedDict[bytes, Embedding] = OrderedDict()
        self.renew()

    def renew(self) -> None:
        """Make its lock: at the beginning, and in a forked child (`objremove.forks`)."""
        self._lock = threading.Lock()
        renew_in_children(self)

    def select(
        self,
        pixels: Pixels,
        *,
        points: Sequence[tuple[int, int, bool]] = (),
        boxes: Sequence[tuple[int, int, int, int]] = (),
    ) -> list[Instance]:
        """As `Prompter.select`. A lone point is ambiguous: of SAM's three answers the one it trusts most is taken."""
        embedding = self.embed(pixels)
        found: list[Instance | None] = []
        if points:
            found.append(self._best(embedding, points=points, label="point", several=len(points) == 1))
        found += [self._best(embedding, box=box, label=BOX_LABEL) for box in boxes]
        return [instance for instance in found if instance is not None]

    def refine(self, pixels: Pixels, instances: Sequence[Instance]) -> list[Instance]:
        """As `Prompter.refine`: box grown by 5 %, points inside the instance and, against it, inside its neighbours.

        SAM's mask is taken where its IoU with the instance exceeds 0.5 and its own estimate exceeds 0.8; for thin objects
        (bicycles, chairs), where either mask may lack parts, both are united.
        """
        if not instances:
            return []
        embedding = self.embed(pixels)
        return [self._refined(embedding, instance, instances) for instance in instances]

    def embed(self, pixels: Pixels) -> Embedding:
        """The photo's embedding, computed once for the same content; the last four photos are kept. Thread-safe."""
        size = (pixels.shape[0], pixels.shape[1])
        scale = FRAME / max(size)
        inner = (max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5)))
        small = as_uint8(resize(pixels, inner))
        key = hashlib.blake2b(repr(size).encode() + small.tobytes(), digest_size=16).digest()
        with self._lock:
            if key not in self._embeddings:
                self._embeddings[key] = Embedding(self._encode(small), size, inner)
            self._embeddings.move_to_end(key)
            while len(self._embeddings) > _KEPT_EMBEDDINGS:
                self._embeddings.popitem(last=False)
            return self._embeddings[key]

    @torch.inference_mode()
    def _encode(self, rgb: Pixels) -> Tensor:
        mean, std = (torch.tensor(each, device=self._device).view(3, 1, 1) for each in (_MEAN, _STD))
        image = (torch.from_numpy(rgb).to(self._device).permute(2, 0, 1).float() - mean) / std
        framed = F.pad(image, (0, FRAME - image.shape[2], 0, FRAME - image.shape[1]))[None]
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16):
            features: Tensor = self._model.image_encoder(framed)
        return features.float()

    def _best(
        self,
        embedding: Embedding,
        *,
        label: str,
        points: Points = (),
        box: tuple[int, int, int, int] | None = None,
        several: bool = False,
    ) -> Instance | None:
        logits, quality = self._decode(embedding, points, box, several)
        best = int(quality.argmax())
        return self._draw(embedding, logits[best], label, float(quality[best]))

    @torch.inference_mode()
    def _decode(
        self, embedding: Embedding, points: Points, box: tuple[int, int, int, int] | None, several: bool
    ) -> tuple[FloatMap, FloatMap]:
        """(n, h, w) logits over the photo's part of the frame and (n,) estimated IoU; n is 3 where `several`, else 1."""
        across, down = embedding.scale
        prompt = None
        if points:
            places = torch.tensor([[[x * across, y * down] for x, y, _ in points]], device=self._device)
            prompt = places, torch.tensor([[int(positive) for *_, positive in points]], device=self._device)
        corners = None
        if box is not None:
            corners = torch.tensor(
                [[box[0] * across, box[1] * down, box[2] * across, box[3] * down]], device=self._device
            )
        encoder = self._model.prompt_encoder
        sparse, dense = encoder(points=prompt, boxes=corners, masks=None)
        low, quality = self._model.mask_decoder(
            image_embeddings=embedding.features,
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=several,
        )
        framed = F.interpolate(low.float(), (FRAME, FRAME), mode="bilinear", align_corners=False)
        height, width = embedding.inner
        return framed[0, :, :height, :width].cpu().numpy(), quality[0].float().cpu().numpy()

    def _draw(self, embedding: Embedding, logits: FloatMap, label: str, quality: float) -> Instance | None:
        found = positive_crop(logits, embedding.size)
        if found is None:
            return None
        return Instance.from_crop(
            close_small_gaps(found[0]),
            found[1],
            embedding.size,
            label=label,
            score=min(1.0, max(0.0, quality)),
            boundary_error=_CELL / min(embedding.scale) / 2,
            source=self.name,
        )

    def _refined(self, embedding: Embedding, instance: Instance, others: Sequence[Instance]) -> Instance:
        box = grown_box(instance, 0.05, least=4 / min(embedding.scale))
        apart = [other for other in others if other is not instance and not _are_one(other, instance)]
        inside = (point for other in apart for point in inner_points(other, 1, inside=instance.box))
        against = [point for point in inside if not instance.covers(*point)]
        points = [(x, y, True) for x, y in inner_points(instance, 3)] + [(x, y, False) for x, y in against]
        logits, quality = self._decode(embedding, points, box, False)
        drawn = self._draw(embedding, logits[0], instance.label, float(quality[0]))
        if drawn is None or quality[0] <= _LEAST_QUALITY or mask_iou(drawn, instance) <= _LEAST_IOU:
            return instance
        source = f"{instance.source}+{self.name}"
        sharper = replace(instance, box=drawn.box, crop=drawn.crop, boundary_error=drawn.boundary_error, source=source)
        return united(sharper, instance) if instance.label in _THIN else sharper


def _are_one(first: Instance, second: Instance) -> bool:
    """Whether one is what a second look saw more of the other: they share a label, and one of them extends what was found."""
    return first.label == second.label and (first.extends or second.extends)


def united(first: Instance, second: Instance) -> Instance:
    """Both masks as one instance that is `first` in all else; the greater boundary error holds."""
    x0, y0 = min(first.box[0], second.box[0]), min(first.box[1], second.box[1])
    x1, y1 = max(first.box[2], second.box[2]), max(first.box[3], second.box[3])
    crop = np.zeros((y1 - y0, x1 - x0), dtype=np.bool_)
    for each in (first, second):
        left, top, right, bottom = each.box
        crop[top - y0 : bottom - y0, left - x0 : right - x0] |= each.crop
    error = max(first.boundary_error, second.boundary_error)
    return replace(first, box=(x0, y0, x1, y1), crop=crop, boundary_error=error)


def require_package() -> None:
    """Raises `ModelError` where `segment-anything` is not installed: asked before a gigabyte is fetched for it."""
    if lacks := models.get("sam_vit_b").lacks:
        raise ModelError(f"SAM needs the package segment-anything: run `{lacks}`")


def load_sam(path: Path, *, device: torch.device, dtype: torch.dtype) -> SamPrompter:
    """The prompter of a SAM file (a plain state dict, read with `weights_only`); its size is told by its keys.

    Raises:
        ModelError: the package is missing, or the file is damaged or no SAM.
    """
    require_package()
    from segment_anything import sam_model_registry

    state = read_state(path)
    kind = _kind(state)
    if kind is None:
        raise ModelError(f"{path} holds no SAM of a known size: known are {', '.join(_BUILDERS.values())}")
    with torch.device("meta"):  # shapes without values: nothing is drawn at random only to be replaced
        model = sam_model_registry[kind]()
    load_state(model, state, path=path)
    for name in ("pixel_mean", "pixel_std"):  # in no file; `SamPrompter` normalises by itself
        model.register_buffer(name, torch.zeros(3, 1, 1), persistent=False)
    return SamPrompter(model.eval(), f"sam_{kind}", device=device, dtype=dtype)


def _kind(state: State) -> str | None:
    positions = state.get("image_encoder.pos_embed")
    return None if positions is None or positions.ndim != 4 else _BUILDERS.get(positions.shape[-1])
