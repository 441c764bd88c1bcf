"""The class segmenter's recipe: SlimDeepLab, or a teacher for it, on the 21 VOC classes.

Cross-entropy, class-balanced sampling, pasted objects, two photos in one and, where teachers are at hand, their features and answers.
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
from objremove.training.files import IGNORE, Bytes
from objremove.training.library import PhotoLibrary, ShapeBank, sampling_weights
from objremove.training.lite_deeplab import LiteDeepLab
from objremove.training.perceptual import IMAGENET_MEAN, IMAGENET_STD
from objremove.training.pictures import sheet
from objremove.training.recipe import Scalars
from objremove.training.segmenter_augment import cut_mix, mix_up, paste_object, random_crop, recolour
from objremove.training.stream import Sample
from objremove.training.teachers import Ensemble, TaughtSegmenter, Teacher, answer_size, distillation_loss, hint_loss

_PREVIEW_PHOTOS = 8


class SegmenterRecipe:
    """Trains the configured network.

    Args:
        fabric: launched.
        config: the run.
        library: photos with labels to train on.
        validation: photos to judge by (those labelled by hand count); None: no scores and no previews.
        weights: start from these weights (safetensors); None: from scratch. A `LiteDeepLab` also starts from EfficientNet-Lite0.
        teacher: what the network also learns from; None: it learns from labels only.

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
        teacher: Teacher | Ensemble | None = None,
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
        self._objects = _pasted_objects(library, config.augment.paste_share) if config.augment.copy_paste else None
        network = _build(config, weights)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = config.norm_momentum
        layout: Any = {"memory_format": torch.channels_last}
        self._plain = network.to(fabric.device, **layout).train()
        self._ema = Ema(self._plain, config.loop.ema_decay)
        self._teacher = teacher.to(fabric.device, **layout) if teacher is not None else None
        channels = 0 if teacher is None else teacher.channels
        self._trained = trained = TaughtSegmenter(self._plain, channels).to(fabric.device, **layout)
        compiled: nn.Module = torch.compile(trained) if config.loop.compile else trained  # type: ignore[assignment]
        self._network, self._optimizer = fabric.setup(
            compiled, torch.optim.AdamW(trained.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        )
        self._mean, self._std = (
            torch.tensor(values, device=fabric.device).view(1, 3, 1, 1) * 255
            for values in (IMAGENET_MEAN, IMAGENET_STD)
        )

    def sample(self, rng: np.random.Generator, size: int) -> Sample:
        """An augmented crop (size, size, 3) and its class indices (size, size), 255 = unknown."""
        photo, labels = self._crop(rng, size)
        augmentation = self._config.augment
        for mix, probability in ((cut_mix, augmentation.cut_mix), (mix_up, augmentation.mix_up)):
            if rng.random() < probability:
                photo, labels = mix(photo, labels, *self._crop(rng, size), rng)
        return photo, labels

    def step(self, photos: Tensor, targets: Tensor, step: int, learning_rate: float) -> Scalars:
        """One step of AdamW."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._config.lr * learning_rate
        answers = self._network(self._normalised(photos))
        labels = F.interpolate(targets[:, None], answer_size(targets), mode="nearest-exact")[:, 0]
        # A batch may be all unknown: a teacher still has something to say.
        known = (labels != IGNORE).sum().clamp_min(1)
        loss = F.cross_entropy(answers["out"].float(), labels.long(), ignore_index=IGNORE, reduction="sum") / known
        scalars = {"cross_entropy": loss.detach()}
        for name, (weight, term) in self._taught(photos, answers).items():
            loss, scalars[name] = loss + weight * term, term.detach()
        self._optimizer.zero_grad(set_to_none=True)
        self._fabric.backward(loss)
        if self._config.gradient_clip:
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

    def _crop(self, rng: np.random.Generator, size: int) -> Sample:
        """An augmented crop of one photo."""
        index = int(np.searchsorted(self._cumulative, rng.random() * self._cumulative[-1], side="right"))
        augmentation = self._config.augment
        photo, labels = random_crop(self._library.photo(index), self._library.labels(index), size, rng, augmentation)
        if self._objects is not None and rng.random() < augmentation.copy_paste:
            photo, labels = paste_object(photo, labels, self._library, self._objects, rng)
        return recolour(np.ascontiguousarray(photo), rng, augmentation), np.ascontiguousarray(labels)

    @torch.no_grad()
    def _predict(self, photo: Bytes) -> Bytes:
        """(H, W) class indices of a (H, W, 3) photo by the averaged network."""
        image = self._normalised(torch.from_numpy(photo)[None].to(self._fabric.device))
        with self._fabric.autocast():
            logits = self._ema.network(image)["out"]
        return np.asarray(logits[0].argmax(0).byte().cpu().numpy())

    def _taught(self, photos: Tensor, answers: Mapping[str, Tensor]) -> dict[str, tuple[float, Tensor]]:
        """What the answers to (B, H, W, 3) uint8 photos differ from what the teacher sees in them: weight and loss by name."""
        if self._teacher is None:
            return {}
        with self._fabric.autocast():
            lesson = self._teacher(photos.permute(0, 3, 1, 2).float() / 255)
        losses = {}
        if lesson.features is not None:
            losses["hint"] = self._config.hint, hint_loss(answers["hint"], lesson.features)
        if lesson.logits is not None:
            losses["distillation"] = self._config.distillation, distillation_loss(answers["out"], lesson.logits)
        return losses

    def _normalised(self, photos: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 to the network's (B, 3, H, W); channels-last as it lies."""
        return (photos.permute(0, 3, 1, 2).float() - self._mean) / self._std


def _build(config: SegmenterConfig, weights: Path | None) -> SlimDeepLab | LiteDeepLab:
    """The configured network with its starting weights."""
    if config.network == "slim-deeplab":
        network: SlimDeepLab | LiteDeepLab = SlimDeepLab(config.width, len(VOC))
    else:
        network = LiteDeepLab(len(VOC))
        if config.freeze_backbone:
            network.freeze_backbone()
        if weights is not None and network.start_from(weights):
            return network
    if weights is not None:
        load_weights(network, weights)
    return network


def _pasted_objects(library: PhotoLibrary, share: float) -> ShapeBank | None:
    """Objects of the classes that at most this share of the photos show; None where there is no such class."""
    counts = Counter(label for record in library.records if record.labels is not None for label in record.classes)
    classes = [label for label, count in counts.items() if count <= share * len(library)]
    return ShapeBank(library, classes, balance=0.5) if classes else None


def _painted(photo: Bytes, labels: Bytes) -> Bytes:
    """The photo with its classes in colour, the unknown in white."""
    hues = np.zeros((1, 256, 3), np.uint8)
    hues[0, 1 : len(VOC)] = [(int(180 * i / (len(VOC) - 1)), 220, 255) for i in range(1, len(VOC))]
    palette = cv2.cvtColor(hues, cv2.COLOR_HSV2RGB)[0]
    palette[IGNORE] = 255
    return np.where((labels > 0)[..., None], (photo * 0.4 + palette[labels] * 0.6), photo).astype(np.uint8)
