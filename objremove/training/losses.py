"""The losses of LaMa but the perceptual one. Suvorov et al., WACV 2022, section 2.2.

Images are (B, 3, H, W) float in 0..1, masks (B, 1, H, W) float with 1 = hole, logits (B, 1, h, w), above 0 = real.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_l1(predicted: Tensor, real: Tensor, mask: Tensor, *, known: float, hole: float) -> Tensor:
    """Mean over all pixels of the absolute difference, weighted `known` outside and `hole` inside the hole."""
    return ((predicted - real).abs() * (known * (1 - mask) + hole * mask)).mean()


def generator_adversarial(fake_logits: Tensor) -> Tensor:
    """The non-saturating loss: softplus(-D(fake)), over the whole prediction."""
    return F.softplus(-fake_logits.float()).mean()


def discriminator_adversarial(real_logits: Tensor, fake_logits: Tensor, mask: Tensor) -> Tensor:
    """Real patches are real; a patch of the prediction is fake only where its centre lies in the hole."""
    fake_logits = fake_logits.float()
    in_hole = F.interpolate(mask, fake_logits.shape[-2:], mode="nearest")
    on_fake = in_hole * F.softplus(fake_logits) + (1 - in_hole) * F.softplus(-fake_logits)
    return (F.softplus(-real_logits.float()) + on_fake).mean()


def r1_penalty(real_logits: Tensor, real: Tensor) -> Tensor:
    """Squared norm of the gradient of the summed logits by each real image, averaged (Mescheder et al., 2018); no factor 1/2."""
    (gradient,) = torch.autograd.grad(real_logits.float().sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def feature_matching(fake_features: Sequence[Tensor], real_features: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of the discriminator's feature maps, averaged over its levels."""
    pairs = zip(fake_features, real_features, strict=True)
    return torch.stack([F.mse_loss(fake.float(), real.float()) for fake, real in pairs]).mean()
