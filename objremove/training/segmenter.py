"""The class segmenter's recipe: SlimDeepLab on the 21 VOC classes.

Cross-entropy, class-balanced sampling, pasted rare objects and, where a teacher is at hand, its features as hints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from objremove.classes import VOC
from objremove.segmentation.slim_deeplab import SlimDeepLab
from objremove.training.config import SegmenterConfig
from objremove.training.ema import Ema
from objremove.training.export import load_weights, write_weights
from objremove.training.hints import HintedSegmenter, Teacher, hint_loss
from objremove.training.library import IGNORE, Bytes, PhotoLibrary, ShapeBank, sampling_weights
from objremove.training.perceptual import Backbone
from objremove.training.pictures import sheet
from objremove.training.recipe import Scalars
from objremove.training.segmenter_augment import paste_object, random_crop, recolour
from objremove.training.stream import Sample

_RARE_SHARE = 0.04
"""Classes on a smaller share of the photos are pasted into others."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PREVIEW_PHOTOS = 8


class SegmenterRecipe:
    """Trains a `SlimDeepLab`.

    Args:
        fabric: launched.
        config: the run.
        library: photos with labels to train on.
        validation: photos to judge by (those labelled by hand count); None: no scores and no previews.
        weights: start from these weights (safetensors); None: from scratch.
        teacher: a frozen backbone whose deepest features the network also learns to foretell; None: it learns from labels only.

    Raises:
        ModelError: the weights to start from do not fit.
    """

    file_name = "segmenter.safetensors"

    def __init__(
        self,
        fabric: Fabric,
        config: SegmenterConfig,
        library: PhotoLibrary,
        validation: PhotoLibrary | None,
        *,
        weights: Path | None = None,
        teacher: Backbone | None = None,
    ) -> None:
        self._fabric, self._config, self._library, self._validation = fabric, config, library, validation
        self._cumulative = np.cumsum(
            sampling_weights(
                library.records,
                source_weights=config.data.source_weights,
                label_weights=config.data.label_weights,
                unlabelled_weight=config.data.unlabelled_weight,
                class_balance=config.data.class_balance,
            )
        )
        self._objects = _rare_objects(library) if config.augment.copy_paste else None
        network = SlimDeepLab(config.width, len(VOC))
        if weights is not None:
            load_weights(network, weights)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = config.norm_momentum
        layout: Any = {"memory_format": torch.channels_last}
        self._plain: SlimDeepLab = network.to(fabric.device, **layout).train()
        self._ema = Ema(self._plain, config.loop.ema_decay)
        self._teacher = Teacher(teacher).to(fabric.device, **layout) if teacher is not None else None
        trained: nn.Module = self._plain
        if self._teacher is not None:
            trained = HintedSegmenter(self._plain, self._teacher.channels).to(fabric.device, **layout)
        self._trained = trained
        compiled: nn.Module = torch.compile(trained) if config.loop.compile else trained  # type: ignore[assignment]
        self._network, self._optimizer = fabric.setup(
            compiled, torch.optim.AdamW(trained.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        )
        self._mean, self._std = (
            torch.tensor(values, device=fabric.device).view(1, 3, 1, 1) * 255 for values in (_MEAN, _STD)
        )

    def sample(self, rng: np.random.Generator, size: int) -> Sample:
        """An augmented crop (size, size, 3) and its class indices (size, size), 255 = unknown."""
        index = int(np.searchsorted(self._cumulative, rng.random() * self._cumulative[-1], side="right"))
        augmentation = self._config.augment
        photo, labels = random_crop(self._library.photo(index), self._library.labels(index), size, rng, augmentation)
        if self._objects is not None and rng.random() < augmentation.copy_paste:
            photo, labels = paste_object(photo, labels, self._library, self._objects, rng)
        return recolour(np.ascontiguousarray(photo), rng, augmentation), np.ascontiguousarray(labels)

    def step(self, photos: Tensor, targets: Tensor, step: int, learning_rate: float) -> Scalars:
        """One step of AdamW."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._config.lr * learning_rate
        answers = self._network(self._normalised(photos))
        loss = F.cross_entropy(answers["out"].float(), targets.long(), ignore_index=IGNORE)
        scalars = {"cross_entropy": loss.detach()}
        if self._teacher is not None:
            hint = hint_loss(answers["hint"], self._features(photos, answers["hint"]))
            loss, scalars["hint"] = loss + self._config.hint * hint, hint.detach()
        self._optimizer.zero_grad(set_to_none=True)
        self._fabric.backward(loss)
        self._fabric.clip_gradients(
            self._network, self._optimizer, max_norm=self._config.gradient_clip, error_if_nonfinite=False
        )
        self._optimizer.step()
        self._ema.update(self._plain, step)
        return scalars

    def state(self) -> dict[str, Any]:
        """See `Recipe`."""
        return {"network": self._trained, "ema": self._ema.network, "optimizer": self._optimizer}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Intersection over union by class, and its mean over the classes present, on photos with labels by hand, at full size."""
        if self._validation is None:
            return {}
        count = len(VOC)
        confusion = np.zeros((count, count), np.int64)
        for index, record in enumerate(self._validation.records):
            if record.label != "human":
                continue
            labels = self._validation.labels(index)
            found = self._predict(self._validation.photo(index))
            known = labels < count
            pairs = labels[known].astype(np.int64) * count + found[known]
            confusion += np.bincount(pairs, minlength=count * count).reshape(count, count)
        hits, present = np.diag(confusion), confusion.sum(1) > 0
        if not present.any():
            return {}
        overlap = hits / np.maximum(1, confusion.sum(0) + confusion.sum(1) - hits)
        by_class = {name: round(float(overlap[i]), 4) for i, name in enumerate(VOC) if present[i]}
        return {"mean_iou": float(overlap[present].mean()), **by_class}

    def preview(self) -> NDArray[np.uint8] | None:
        """Rows of photo, its labels and what was found."""
        if self._validation is None:
            return None
        indices = np.linspace(0, len(self._validation) - 1, min(_PREVIEW_PHOTOS, len(self._validation))).astype(int)
        rows = []
        for index in map(int, indices):
            photo, labels = self._validation.photo(index), self._validation.labels(index)
            rows.append((photo, _painted(photo, labels), _painted(photo, self._predict(photo))))
        return sheet(rows)

    def export(self, folder: Path, metadata: Mapping[str, str]) -> None:
        """The averaged network."""
        write_weights(self._ema.network, folder / self.file_name, metadata)

    @torch.no_grad()
    def _predict(self, photo: Bytes) -> Bytes:
        """(H, W) class indices of a (H, W, 3) photo by the averaged network."""
        image = self._normalised(torch.from_numpy(photo)[None].to(self._fabric.device))
        with self._fabric.autocast():
            logits = self._ema.network(image)["out"]
        return np.asarray(logits[0].argmax(0).byte().cpu().numpy())

    def _features(self, photos: Tensor, guess: Tensor) -> Tensor:
        """What the teacher sees in (B, H, W, 3) uint8 photos, of the guess's shape."""
        assert self._teacher is not None
        with self._fabric.autocast():
            features: Tensor = self._teacher(photos.permute(0, 3, 1, 2).float() / 255, tuple(guess.shape[-2:]))
        return features

    def _normalised(self, photos: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 to the network's (B, 3, H, W); channels-last as it lies."""
        return (photos.permute(0, 3, 1, 2).float() - self._mean) / self._std


def _rare_objects(library: PhotoLibrary) -> ShapeBank | None:
    """Objects of the classes that few photos show; None where there is no such class."""
    counts = Counter(label for record in library.records for label in record.classes)
    rare = [label for label, count in counts.items() if count < _RARE_SHARE * len(library)]
    return ShapeBank(library, rare) if rare else None


def _painted(photo: Bytes, labels: Bytes) -> Bytes:
    """The photo with its classes in colour, the unknown in white."""
    hues = np.zeros((1, 256, 3), np.uint8)
    hues[0, 1 : len(VOC)] = [(int(180 * i / (len(VOC) - 1)), 220, 255) for i in range(1, len(VOC))]
    palette = cv2.cvtColor(hues, cv2.COLOR_HSV2RGB)[0]
    palette[IGNORE] = 255
    return np.where((labels > 0)[..., None], (photo * 0.4 + palette[labels] * 0.6), photo).astype(np.uint8)
