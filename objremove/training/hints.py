"""Feature hints: a network that learns classes from few photos also learns to foretell the features of one trained on many.

After FitNets (Romero et al., 2015). Labels are scarce and unknown on much of a photo; a teacher's features are there at every
place. Only the student ships: the teacher, and the projection onto its features, are left behind with the run.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from objremove.segmentation.slim_deeplab import SlimDeepLab
from objremove.training.perceptual import Backbone


class HintedSegmenter(nn.Module):
    """A `SlimDeepLab` with a linear guess of the teacher's features beside its logits.

    Args:
        student: what is trained, and what ships.
        channels: of the teacher's features.
    """

    def __init__(self, student: SlimDeepLab, channels: int) -> None:
        super().__init__()
        self.student = student
        self.guess = nn.Conv2d(student.high_channels, channels, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """`out`: logits (B, classes, H, W); `hint`: (B, channels, H/16, W/16)."""
        low, high = self.student.encode(image)
        return {"out": self.student.decode(low, high, image.shape[-2:]), "hint": self.guess(high)}


class Teacher(nn.Module):
    """The deepest features of a frozen backbone, each channel brought to mean 0 and deviation 1 over the batch."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)
        self.channels = int(backbone(torch.zeros(1, 3, 64, 64))[-1].shape[1])

    @torch.no_grad()
    def forward(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, 3, H, W) RGB in 0..1 to (B, channels, *size)."""
        features = F.interpolate(self.backbone(image)[-1].float(), size, mode="bilinear")
        return F.batch_norm(features, None, None, training=True)


def hint_loss(guess: Tensor, features: Tensor) -> Tensor:
    """Mean squared difference of two (B, C, H, W) tensors, linear beyond 1 so that rare peaks don't rule."""
    return F.smooth_l1_loss(guess.float(), features) * 2
