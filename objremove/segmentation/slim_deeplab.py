"""The embedded network: a slim DeepLab for the 21 VOC classes, 6.2 M parameters.

After DeepLabV3+ (Chen et al., 2018): a residual backbone at output stride 16 whose last stage is dilated instead of strided,
context from the whole image, and what is seen there refined with features of stride 8. Dense 3x3 convolutions throughout: on a
CPU they outrun the depthwise ones of mobile networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_WIDTH, _CLASSES = "stage1.0.conv1.0.weight", "classifier.bias"
"""Tensors whose first side is the width, the number of classes."""


class SlimDeepLab(nn.Module):
    """(B, 3, H, W) ImageNet-normalised RGB to `{"out": (B, classes, H, W)}` logits.

    Args:
        width: channels at stride 4.
        classes: number of logits.
        depth: residual blocks of stride 16 before those that are dilated.

    Attributes:
        high_channels: of the features of stride 16.
    """

    def __init__(self, width: int = 48, classes: int = 21, depth: int = 4) -> None:
        super().__init__()
        half, double, quadruple, last, head = width // 2, 2 * width, 4 * width, 6 * width, 128
        self.high_channels = last
        self.stem = nn.Sequential(_conv_norm_relu(3, half, stride=2), _conv_norm_relu(half, width, stride=2))
        self.stage1 = nn.Sequential(ResidualBlock(width, width), ResidualBlock(width, width))
        self.stage2 = nn.Sequential(ResidualBlock(width, double, stride=2), ResidualBlock(double, double))
        self.stage3 = nn.Sequential(
            ResidualBlock(double, quadruple, stride=2),
            *(ResidualBlock(quadruple, quadruple) for _ in range(depth - 1)),
        )
        self.stage4 = nn.Sequential(
            ResidualBlock(quadruple, last, dilation=2),
            ResidualBlock(last, last, dilation=4),
        )
        self.context = nn.Sequential(nn.Conv2d(last, head, 1, bias=False), nn.ReLU(inplace=True))
        self.project = nn.Sequential(nn.Conv2d(last, head, 1, bias=False), nn.BatchNorm2d(head), nn.ReLU(inplace=True))
        self.fuse = _conv_norm_relu(2 * head, head)
        self.classifier = nn.Conv2d(head, classes, 1)
        self.skip_classifier = nn.Conv2d(double, classes, 1)
        self.refinement = Refinement(head, double, classes)

    @staticmethod
    def is_in(state: Mapping[str, Tensor]) -> bool:
        """Whether a state dict is one of such a network, told by a few of its names."""
        return _WIDTH in state and _CLASSES in state

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> SlimDeepLab:
        """The network in a state dict where there `is_in` one, of any width, depth and number of classes.

        Raises:
            RuntimeError: names are missing or left over, or shapes do not fit.
        """
        network = cls(state[_WIDTH].shape[0], state[_CLASSES].shape[0], _depth(state))
        network.take_over(state)
        return network

    def take_over(self, state: Mapping[str, Tensor]) -> None:
        """Load the weights of a network that may be less deep, or without refinement: what it lacks stays as it is, which in
        a new network changes nothing.

        Raises:
            RuntimeError: names or shapes do not fit.
        """
        deeper = tuple(f"stage3.{index}." for index in range(_depth(state), len(self.stage3)))
        plain = not any(key.startswith("refinement.") for key in state)
        added = (*deeper, "refinement.") if plain else deeper
        own = {key: value for key, value in self.state_dict().items() if added and key.startswith(added)}
        self.load_state_dict(own | dict(state))

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
        fused = self.fuse(torch.cat([self.project(high), context], 1))
        logits = F.interpolate(self.classifier(fused), low.shape[-2:], mode="bilinear") + self.skip_classifier(low)
        return F.interpolate(logits + self.refinement(fused, low), tuple(size), mode="bilinear")


class Refinement(nn.Module):
    """What features of stride 8 change in logits that were made from those of stride 16; in a new network nothing.

    Args:
        high: channels of stride 16.
        low: channels of stride 8.
        classes: number of logits.
    """

    def __init__(self, high: int, low: int, classes: int) -> None:
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(low, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU(inplace=True))
        self.merge = _conv_norm_relu(high + 48, 96)
        self.classifier = nn.Conv2d(96, classes, 1, bias=False)
        nn.init.zeros_(self.classifier.weight)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """(B, high, H/16, W/16) and (B, low, H/8, W/8) to (B, classes, H/8, W/8)."""
        high = F.interpolate(high, low.shape[-2:], mode="bilinear")
        change: Tensor = self.classifier(self.merge(torch.cat([high, self.low(low)], 1)))
        return change


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., Deep Residual Learning, 2016), optionally strided or dilated.

    A new one is its shortcut alone (Goyal et al., Accurate, Large Minibatch SGD, 2017).
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv_norm_relu(channels_in, channels_out, stride, dilation)
        norm = nn.BatchNorm2d(channels_out)
        nn.init.zeros_(norm.weight)
        self.conv2 = nn.Sequential(
            nn.Conv2d(channels_out, channels_out, 3, 1, dilation, dilation=dilation, bias=False), norm
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


def _depth(state: Mapping[str, Tensor]) -> int:
    """Blocks of the third stage in a state dict."""
    return len({key.split(".")[1] for key in state if key.startswith("stage3.")})
