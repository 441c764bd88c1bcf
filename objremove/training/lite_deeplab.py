"""A segmenter that learns fast from few labels, to teach the one that ships: EfficientNet-Lite0 with a DeepLab head, 6.1 M parameters.

Its backbone has seen ImageNet; after minutes of training it tells classes apart that a network without such a start does not tell
apart after hours. The head follows DeepLabV3+ (Chen et al., 2018): dilated convolutions of two rates and the mean of the picture on
features of stride 16, refined with features of stride 8. Its weights derive from EfficientNet's, so that it stays behind with the
run: what ships learns from its answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from objremove.segmentation.weights import read_state
from objremove.training.efficientnet_lite import EfficientNetLite
from objremove.training.perceptual import IMAGENET_MEAN, IMAGENET_STD

_PADDING = 8
"""Features of stride 16 sit at the ends of their cells. With this before the picture they sit at the centres, and those of
stride 8 at the beginnings of theirs, where the mean of four neighbours is at the centre again."""


class LiteDeepLab(nn.Module):
    """(B, 3, H, W) ImageNet-normalised RGB to `{"out": (B, classes, H, W)}` logits, as `SlimDeepLab`.

    Attributes:
        high_channels: of the features of stride 16.
    """

    high_channels = EfficientNetLite.high_channels

    def __init__(self, classes: int = 21, head: int = 192) -> None:
        super().__init__()
        self.backbone = EfficientNetLite()
        self.project = _conv_norm_relu(self.high_channels, head, 1)
        self.context = nn.Sequential(nn.Conv2d(self.high_channels, head, 1, bias=False), nn.ReLU())
        self.pyramid = nn.ModuleList([_conv_norm_relu(head, head, 3, 2), _conv_norm_relu(head, head, 3, 5)])
        self.fuse = nn.Sequential(_conv_norm_relu(4 * head, head, 3), nn.Dropout2d(0.1))
        self.low = _conv_norm_relu(EfficientNetLite.low_channels, 48, 1)
        self.refine = _conv_norm_relu(head + 48, 96, 3)
        self.classifier = nn.Conv2d(96, classes, 1)
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def start_from(self, path: Path) -> bool:
        """Take over EfficientNet-Lite0 from a weight file; False where the file holds something else.

        Raises:
            ModelError: the file is missing or damaged, or holds an EfficientNet-Lite of another size.
        """
        state = read_state(path)
        if not EfficientNetLite.is_in(state):
            return False
        self.backbone.take_over(state, path)
        return True

    def freeze_backbone(self) -> None:
        """From now on only the head learns."""
        self.backbone.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """As any module; the norms of a frozen backbone keep their statistics."""
        super().train(mode)
        self.backbone.train(mode and self.backbone.stem.conv.weight.requires_grad)
        return self

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Logits at the input's own size, brought there bilinearly from stride 8."""
        return {"out": self.decode(*self.encode(image), image.shape[-2:])}

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The backbone's features of stride 8, (B, 40, H/8, W/8), and of stride 16, (B, 1280, H/16, W/16)."""
        height, width = image.shape[-2:]
        # The backbone's own normalisation follows: it wants 0..1.
        padded = F.pad(image * self.get_buffer("std") + self.get_buffer("mean"), (_PADDING,) * 4, mode="replicate")
        low, high = self.backbone(padded)
        low = F.avg_pool2d(low, 2, 1)
        return low[..., : -(-height // 8), : -(-width // 8)], high[..., : -(-height // 16), : -(-width // 16)]

    def decode(self, low: Tensor, high: Tensor, size: Sequence[int]) -> Tensor:
        """Logits (B, classes, *size) from the features of `encode`."""
        near = self.project(high)
        context = self.context(high.mean((2, 3), keepdim=True)).expand_as(near)
        coarse = self.fuse(torch.cat([near, *(branch(near) for branch in self.pyramid), context], 1))
        coarse = F.interpolate(coarse, low.shape[-2:], mode="bilinear")
        logits = self.classifier(self.refine(torch.cat([coarse, self.low(low)], 1)))
        return F.interpolate(logits, tuple(size), mode="bilinear")


def _conv_norm_relu(channels_in: int, channels_out: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, 1, dilation * (kernel // 2), dilation=dilation, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
