"""The inpainter's recipe: LaMa (Suvorov et al., WACV 2022, section 2 and appendix).

One deliberate difference to the official code: the generator runs once a step instead of once for each optimiser; the
discriminator then learns from the very prediction that it just judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.wrappers import _FabricOptimizer
from numpy.typing import NDArray
from torch import Tensor, nn

from objremove.errors import ModelError, PhotoError, UsageError
from objremove.inpainting.lama.checkpoint import load_generator, save_generator
from objremove.inpainting.lama.generator import Generator, build_generator
from objremove.training import losses
from objremove.training.augment import augment
from objremove.training.config import InpainterConfig, MaskConfig
from objremove.training.discriminator import NLayerDiscriminator
from objremove.training.ema import Ema
from objremove.training.export import load_weights, write_weights
from objremove.training.library import PhotoLibrary, ShapeBank, sampling_weights
from objremove.training.mask_generators import MixedMask, make_masks
from objremove.training.perceptual import Backbone, PerceptualLoss
from objremove.training.pictures import sheet
from objremove.training.recipe import Scalars
from objremove.training.stream import Sample
from objremove.types import Mask

_VALIDATION_PHOTOS, _PREVIEW_PHOTOS, _VALIDATION_SIZE = 96, 8, 256

_VALIDATION_MASKS = make_masks(MaskConfig(large_irregular=1, large_boxes=1, narrow_irregular=2), None)
"""Holes to judge by: the same in every run, whatever it trains with."""

_MASK_SIZE = 256
"""Side in pixels of the crops that LaMa was trained on."""


class InpainterRecipe:
    """Trains a LaMa generator against a patch discriminator.

    Args:
        fabric: launched.
        config: the run.
        library: photos to train on.
        validation: photos to judge by; None: no scores and no previews.
        backbones: of the perceptual loss, frozen.
        generator: start from this file of weights (any container that `load_generator` reads); None: from scratch.
        discriminator: likewise for the discriminator (safetensors).

    Raises:
        UsageError: the configuration wants a perceptual loss or object shapes and there are no backbones or labels.
        ModelError: the weights to start from do not fit.
    """

    file_name = "generator.safetensors"

    def __init__(
        self,
        fabric: Fabric,
        config: InpainterConfig,
        library: PhotoLibrary,
        validation: PhotoLibrary | None,
        *,
        backbones: list[Backbone],
        generator: Path | None = None,
        discriminator: Path | None = None,
    ) -> None:
        if config.losses.perceptual and not backbones:
            raise UsageError(
                "the perceptual loss needs a backbone: give --perceptual FILE, or --set losses.perceptual=0"
            )
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
        self._masks = make_masks(config.masks, ShapeBank(library).outline if config.masks.shapes else None)
        network = build_generator(config.generator)
        if generator is not None:
            _start_from(network, generator)
        judge = NLayerDiscriminator()
        if discriminator is not None:
            load_weights(judge, discriminator)
        layout: Any = {"memory_format": torch.channels_last}
        self._plain_generator: Generator = network.to(fabric.device, **layout).train()
        self._plain_discriminator = judge.to(fabric.device, **layout).train()
        self._ema = Ema(self._plain_generator, config.loop.ema_decay)
        self._perceptual = PerceptualLoss(backbones).to(fabric.device, **layout)
        compiled: nn.Module = torch.compile(self._plain_generator) if config.loop.compile else self._plain_generator  # type: ignore[assignment]
        self._generator, self._generator_optimizer = fabric.setup(
            compiled, torch.optim.Adam(self._plain_generator.parameters(), lr=config.generator_lr)
        )
        self._discriminator, self._discriminator_optimizer = fabric.setup(
            self._plain_discriminator,
            torch.optim.Adam(self._plain_discriminator.parameters(), lr=config.discriminator_lr),
        )

    def sample(self, rng: np.random.Generator, size: int) -> Sample:
        """An augmented crop (size, size, 3) and its hole (size, size), 1 = fill."""
        index = int(np.searchsorted(self._cumulative, rng.random() * self._cumulative[-1], side="right"))
        photo = augment(self._library.photo(index), size, rng, self._config.augment)
        return photo, _hole(self._masks, rng, size).astype(np.uint8)

    def step(self, photos: Tensor, targets: Tensor, step: int, learning_rate: float) -> Scalars:
        """One step of the generator, then one of the discriminator."""
        config = self._config
        _set_learning_rate(self._generator_optimizer, config.generator_lr * learning_rate)
        _set_learning_rate(self._discriminator_optimizer, config.discriminator_lr * learning_rate)
        real, mask = _as_image(photos), targets[:, None].float()
        predicted, scalars = self._generator_step(real, mask)
        self._ema.update(self._plain_generator, step)
        return scalars | self._discriminator_step(real, predicted, mask, step) if config.losses.judged else scalars

    def state(self) -> dict[str, Any]:
        """See `Recipe`."""
        return {
            "generator": self._plain_generator,
            "discriminator": self._plain_discriminator,
            "ema": self._ema.network,
            "generator_optimizer": self._generator_optimizer,
            "discriminator_optimizer": self._discriminator_optimizer,
        }

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Mean over validation crops, inside their holes: absolute difference, PSNR in dB, distance of the perceptual backbones."""
        if self._validation is None:
            return {}
        rows = []
        for photo, hole in self._examples(_VALIDATION_PHOTOS):
            real, mask, filled = self._fill(photo, hole)
            error = (filled - real) * mask
            area = mask.sum() * 3
            squared = error.square().sum() / area
            row = [error.abs().sum() / area, -10 * torch.log10(squared.clamp_min(1e-8))]
            if len(self._perceptual.backbones):
                row.append(self._perceptual(filled, real, mask))
            rows.append(torch.stack(row))
        means = torch.stack(rows).mean(0).tolist()
        return dict(zip(("hole_l1", "hole_psnr", "hole_perceptual"), means, strict=False))

    @torch.no_grad()
    def preview(self) -> NDArray[np.uint8] | None:
        """Rows of photo, hole and result."""
        if self._validation is None:
            return None
        rows = []
        for photo, hole in self._examples(_PREVIEW_PHOTOS):
            _, _, filled = self._fill(photo, hole)
            result = (filled[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
            rows.append((photo, np.where(hole[..., None], np.uint8(255), photo), result))
        return sheet(rows, columns=2)

    def export(self, folder: Path, metadata: Mapping[str, str]) -> None:
        """The averaged generator, which ships, and the discriminator, if one took part, with which a later run can go on."""
        save_generator(self._ema.network, folder / self.file_name, metadata)
        if self._config.losses.judged:
            write_weights(self._plain_discriminator, folder / "discriminator.safetensors", {})

    def _generator_step(self, real: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        weights, fabric = self._config.losses, self._fabric
        with fabric.autocast():
            predicted = self._generator(torch.cat((real * (1 - mask), mask), dim=1)).float()
            terms = {"l1": losses.masked_l1(predicted, real, mask, known=weights.l1_known, hole=weights.l1_hole)}
            if weights.judged:
                terms |= self._judgement(predicted, real)
            if weights.perceptual:
                terms["perceptual"] = weights.perceptual * self._perceptual(predicted, real)
        total = torch.stack(list(terms.values())).sum()
        self._update(self._generator, self._generator_optimizer, total)
        return predicted.detach(), {
            "generator": total.detach(),
            **{name: term.detach() for name, term in terms.items()},
        }

    def _judgement(self, predicted: Tensor, real: Tensor) -> dict[str, Tensor]:
        """What the discriminator makes of a prediction."""
        weights = self._config.losses
        # Called without its wrapper, and frozen, so that neither gradients nor their exchange between processes are prepared.
        judge = self._plain_discriminator.requires_grad_(False)
        logits, features = judge(predicted)
        with torch.no_grad():
            _, real_features = judge(real)
        return {
            "adversarial": weights.adversarial * losses.generator_adversarial(logits),
            "feature_matching": weights.feature_matching * losses.feature_matching(features, real_features),
        }

    def _discriminator_step(self, real: Tensor, predicted: Tensor, mask: Tensor, step: int) -> dict[str, Tensor]:
        weights, fabric = self._config.losses, self._fabric
        self._plain_discriminator.requires_grad_(True)
        penalised = weights.r1 > 0 and step % weights.r1_interval == 0
        real = real.detach().requires_grad_(penalised)
        with fabric.autocast():
            # Fabric's wrapper lets nobody else take gradients, as the penalty does; one wrapped call is enough for the exchange.
            real_logits, _ = self._plain_discriminator(real)
            fake_logits, _ = self._discriminator(predicted)
            total = losses.discriminator_adversarial(real_logits, fake_logits, mask)
        scalars = {
            "discriminator": total.detach(),
            "real_logit": real_logits.detach().mean(),
            "fake_logit": fake_logits.detach().mean(),
        }
        if penalised:
            penalty = losses.r1_penalty(real_logits, real)
            total = total + weights.r1 * weights.r1_interval * penalty
            scalars["r1"] = penalty.detach()
        self._update(self._discriminator, self._discriminator_optimizer, total)
        return scalars

    def _update(self, module: Any, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        self._fabric.backward(loss)
        if self._config.gradient_clip:
            # What is not finite is found when the losses are read: looking here would halt a GPU at every step.
            self._fabric.clip_gradients(
                module, optimizer, max_norm=self._config.gradient_clip, error_if_nonfinite=False
            )
        optimizer.step()

    def _fill(self, photo: NDArray[np.uint8], hole: Mask) -> tuple[Tensor, Tensor, Tensor]:
        """Photo, hole and composite of the averaged generator, each (1, C, H, W) float on the device."""
        device = self._fabric.device
        real = _as_image(torch.from_numpy(photo)[None].to(device))
        mask = torch.from_numpy(hole)[None, None].to(device).float()
        with self._fabric.autocast():
            predicted = self._ema.network(torch.cat((real * (1 - mask), mask), dim=1)).float()
        return real, mask, real * (1 - mask) + predicted.clamp(0, 1) * mask

    def _examples(self, count: int) -> list[tuple[NDArray[np.uint8], Mask]]:
        """Central crops of evenly spread validation photos with holes that are the same in every run."""
        assert self._validation is not None
        indices = np.linspace(0, len(self._validation) - 1, min(count, len(self._validation))).astype(int)
        examples = []
        for index in indices:
            photo = self._validation.photo(int(index))
            size = min(_VALIDATION_SIZE, min(photo.shape[:2]) // 16 * 16)
            if not size:
                key = self._validation.records[int(index)].key
                raise PhotoError(f"photo {key} is narrower than 16 px, too small to judge by: take it out of --val")
            top, left = ((side - size) // 2 for side in photo.shape[:2])
            crop = np.ascontiguousarray(photo[top : top + size, left : left + size])
            examples.append((crop, _hole(_VALIDATION_MASKS, np.random.default_rng((2022, int(index))), size)))
        return examples


def _hole(masks: MixedMask, rng: np.random.Generator, size: int) -> Mask:
    """(size, size); drawn at the size that the laws of the holes are made for, so that every crop loses the same share."""
    mask = masks(rng, _MASK_SIZE, _MASK_SIZE)
    if size == _MASK_SIZE:
        return mask
    return np.asarray(cv2.resize(mask.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST), np.bool_)


def _as_image(photos: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float in 0..1; channels-last as it lies."""
    return photos.permute(0, 3, 1, 2).float() / 255


def _set_learning_rate(optimizer: _FabricOptimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value


def _start_from(network: Generator, path: Path) -> None:
    start = load_generator(path)
    mine = network.config
    if replace(start.config, hole_width=mine.hole_width, sharp_width=mine.sharp_width) != mine:
        raise ModelError(f"{path} is a generator of another shape than the configuration's: change [generator]")
    network.load_state_dict(start.state_dict())
