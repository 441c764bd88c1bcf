"""The embedded network: a slim DeepLab for the 21 VOC classes, 4.7 M parameters.

After DeepLabV3 (Chen et al., 2017): a residual backbone at output stride 16 whose last stage is dilated instead of strided,
context from the whole image, and a skip from stride 8 for the outlines. Dense 3x3 convolutions throughout: on a CPU they
outrun the depthwise ones of mobile networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SlimDeepLab(nn.Module):
    """(B, 3, H, W) ImageNet-normalised RGB to `{"out": (B, classes, H, W)}` logits.

    Attributes:
        high_channels: of the features of stride 16.
    """

    def __init__(self, width: int = 48, classes: int = 21) -> None:
        super().__init__()
        half, double, quadruple, last, head = width // 2, 2 * width, 4 * width, 6 * width, 128
        self.high_channels = last
        self.stem = nn.Sequential(_conv_norm_relu(3, half, stride=2), _conv_norm_relu(half, width, stride=2))
        self.stage1 = nn.Sequential(ResidualBlock(width, width), ResidualBlock(width, width))
        self.stage2 = nn.Sequential(ResidualBlock(width, double, stride=2), ResidualBlock(double, double))
        self.stage3 = nn.Sequential(ResidualBlock(double, quadruple, stride=2), ResidualBlock(quadruple, quadruple))
        self.stage4 = nn.Sequential(
            ResidualBlock(quadruple, last, dilation=2),
            ResidualBlock(last, last, dilation=4),
        )
        self.context = nn.Sequential(nn.Conv2d(last, head, 1, bias=False), nn.ReLU(inplace=True))
        self.project = nn.Sequential(nn.Conv2d(last, head, 1, bias=False), nn.BatchNorm2d(head), nn.ReLU(inplace=True))
        self.fuse = _conv_norm_relu(2 * head, head)
        self.classifier = nn.Conv2d(head, classes, 1)
        self.skip_classifier = nn.Conv2d(double, classes, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Logits at the input's own size, brought there bilinearly from stride 8."""
        return {"out": self.decode(*self.encode(image), image.shape[-2:])}

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features of stride 8, (B, 2 width, H/8, W/8), and of stride 16, (B, 6 width, H/16, W/16)."""
        low = self.stage2(self.stage1(self.stem(image)))
        return low, self.stage4(self.stage3(low))

    def decode(self, low: Tensor, high: Tensor, size: Sequence[int]) -> Tensor:
        """Logits (B, classes, *size) from the features of `encode`."""
        context = self.context(high.mean((2, 3), keepdim=True)).expand(-1, -1, *high.shape[-2:])
        coarse = self.classifier(self.fuse(torch.cat([self.project(high), context], 1)))
        logits = F.interpolate(coarse, low.shape[-2:], mode="bilinear") + self.skip_classifier(low)
        return F.interpolate(logits, tuple(size), mode="bilinear")


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., Deep Residual Learning, 2016), optionally strided or dilated."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv_norm_relu(channels_in, channels_out, stride, dilation)
        self.conv2 = nn.Sequential(
            nn.Conv2d(channels_out, channels_out, 3, 1, dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        same = channels_in == channels_out and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels_in, H, W) to (B, channels_out, H / stride, W / stride)."""
        return F.relu(self.conv2(self.conv1(features)) + self.shortcut(features))


def _conv_norm_relu(channels_in: int, channels_out: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )
