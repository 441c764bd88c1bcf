"""A segmenter that learns fast from few labels, to teach the one that ships: SqueezeNet 1.1 with a DeepLab head, 3.5 M parameters.

SqueezeNet (Iandola et al., 2016) has seen ImageNet; after minutes of training it tells classes apart that a network without such a start
does not tell apart after hours. The head follows DeepLabV3+ (Chen et al., 2018): dilated convolutions of two rates and the mean of the
picture on features of stride 16, refined with features of stride 8. Its weights derive from SqueezeNet's, so that it stays behind with
the run: what ships learns from its answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from objremove.errors import ModelError
from objremove.segmentation.weights import read_state
from objremove.training.perceptual import IMAGENET_MEAN, IMAGENET_STD, SqueezeNetFeatures

_LOW = 7
"""Index of the last SqueezeNet layer of stride 8."""


_PADDING = (7, 8, 7, 8)
"""SqueezeNet pads nothing, so that its features of stride 16 sit at 15, 31, ... px. With this they sit at the centres of their
cells, and those of stride 8 at the corners of theirs, where the mean of four neighbours is at the centre again."""


class SqueezeDeepLab(nn.Module):
    """(B, 3, H, W) ImageNet-normalised RGB to `{"out": (B, classes, H, W)}` logits, as `SlimDeepLab`.

    Attributes:
        high_channels: of the features of stride 16.
    """

    high_channels = 512

    def __init__(self, classes: int = 21, head: int = 160) -> None:
        super().__init__()
        high, low = self.high_channels, 256
        self.backbone = SqueezeNetFeatures()
        self.high_norm, self.low_norm = nn.BatchNorm2d(high), nn.BatchNorm2d(low)
        self.context = nn.Sequential(nn.Conv2d(high, head, 1, bias=False), nn.ReLU())
        self.pyramid = nn.ModuleList(
            [_conv_norm_relu(high, head, 1), _conv_norm_relu(high, head, 3, 2), _conv_norm_relu(high, head, 3, 5)]
        )
        self.fuse = nn.Sequential(_conv_norm_relu(4 * head, head, 3), nn.Dropout2d(0.1))
        self.low = _conv_norm_relu(low, 48, 1)
        self.refine = _conv_norm_relu(head + 48, 96, 3)
        self.classifier = nn.Conv2d(96, classes, 1)
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def start_from(self, path: Path) -> bool:
        """Take over SqueezeNet 1.1 from a weight file; False where the file holds something else.

        Raises:
            ModelError: the file is missing or damaged.
        """
        prefix = "features."
        state = read_state(path)
        if f"{prefix}3.squeeze.weight" not in state:
            return False
        state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        try:
            self.backbone.layers.load_state_dict(state)
        except RuntimeError as error:
            raise ModelError(f"{path} is no whole SqueezeNet 1.1: {' '.join(str(error).split())[:160]}") from None
        return True

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Logits at the input's own size, brought there bilinearly from stride 8."""
        return {"out": self.decode(*self.encode(image), image.shape[-2:])}

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """SqueezeNet's features of stride 8, (B, 256, H/8, W/8), and of stride 16, (B, 512, H/16, W/16)."""
        # SqueezeNet's own normalisation follows: it wants 0..1.
        padded = F.pad(image * self.get_buffer("std") + self.get_buffer("mean"), _PADDING, mode="replicate")
        features = self.backbone(padded)
        low = F.avg_pool2d(features[SqueezeNetFeatures.taps.index(_LOW)], 2, 1)
        return low, self.high_norm(features[-1])

    def decode(self, low: Tensor, high: Tensor, size: Sequence[int]) -> Tensor:
        """Logits (B, classes, *size) from the features of `encode`."""
        context = self.context(high.mean((2, 3), keepdim=True)).expand(-1, -1, *high.shape[-2:])
        coarse = self.fuse(torch.cat([*(branch(high) for branch in self.pyramid), context], 1))
        coarse = F.interpolate(coarse, low.shape[-2:], mode="bilinear")
        logits = self.classifier(self.refine(torch.cat([coarse, self.low(self.low_norm(low))], 1)))
        return F.interpolate(logits, tuple(size), mode="bilinear")


def _conv_norm_relu(channels_in: int, channels_out: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, 1, dilation * (kernel // 2), dilation=dilation, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
