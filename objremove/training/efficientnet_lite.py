"""EfficientNet-Lite0 without its classifier, as a dilated backbone.

The network is that of Tan and Le, "EfficientNet" (ICML 2019), in the form that Google published for phones in 2020: without
squeeze-and-excitation, and with ReLU6 instead of swish. Convolutions pad as TensorFlow's `SAME` does, more at the end than at the
beginning where the two differ: its published weights expect it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from objremove.errors import ModelError

_EPSILON = 1e-3  # of every norm
_MEAN, _SCALE = 127 / 255, 255 / 128
_PORTED = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
"""The port's names of a block's convolutions and norms."""


class _Stage(NamedTuple):
    """Equal blocks: how often, and of what; `stride` is that of the first. The first still has the dilation of the stage before: where
    one gave up its stride for dilation, it is the first convolution after the stride that would have come that finds its inputs apart."""

    repeats: int
    expansion: int
    kernel: int
    channels: int
    stride: int = 1
    dilation: int = 1


STAGES = (
    _Stage(1, 1, 3, 16),
    _Stage(2, 6, 3, 24, stride=2),
    _Stage(2, 6, 5, 40, stride=2),
    _Stage(3, 6, 3, 80, stride=2),
    _Stage(3, 6, 5, 112),
    _Stage(4, 6, 5, 192, dilation=2),  # stride 2 in the classifier
    _Stage(1, 6, 3, 320, dilation=2),
)
_LOW_STAGES = 3
"""Stages up to stride 8."""


class EfficientNetLite(nn.Module):
    """(B, 3, H, W) RGB in 0..1 to features of stride 8, (B, 40, H/8, W/8), and of stride 16, (B, 1280, H/16, W/16).

    The last stages are dilated instead of strided: features are as in the classifier, and twice as dense.
    """

    low_channels, high_channels = STAGES[_LOW_STAGES - 1].channels, 1280

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, stride=2)
        channels, dilation, stages = 32, 1, []
        for stage in STAGES:
            blocks = [_Block(channels, stage, stage.stride, dilation)]
            blocks += [_Block(stage.channels, stage, 1, stage.dilation) for _ in range(stage.repeats - 1)]
            channels, dilation = stage.channels, stage.dilation
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.head = ConvNorm(channels, self.high_channels, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        x = F.relu6(self.stem((image - _MEAN) * _SCALE))
        low = x
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index == _LOW_STAGES - 1:
                low = x
        return low, F.relu6(self.head(x))

    @staticmethod
    def is_in(state: Mapping[str, Tensor]) -> bool:
        """Whether a state dict is an EfficientNet-Lite's, under the names of its PyTorch port (package `efficientnet-lite-pytorch`)."""
        return "_conv_stem.weight" in state and "_conv_head.weight" in state

    def take_over(self, state: Mapping[str, Tensor], path: Path) -> None:
        """Load the weights of that port but for its classifier; `path` is named in errors.

        Raises:
            ModelError: they are not those of EfficientNet-Lite0.
        """
        try:
            self.load_state_dict({ours: state[theirs] for ours, theirs in self.ported_names().items()})
        except (KeyError, RuntimeError):
            raise ModelError(f"{path} holds another EfficientNet: give EfficientNet-Lite0") from None

    def ported_names(self) -> dict[str, str]:
        """The port's name of each of our tensors."""
        places = [f"stages.{stage}.{index}" for stage, each in enumerate(STAGES) for index in range(each.repeats)]
        prefixes = {
            f"{place}.{ours}": (f"_blocks.{number}.{layer}", f"_blocks.{number}.{norm}")
            for number, place in enumerate(places)
            for ours, (layer, norm) in _PORTED.items()
        }
        prefixes |= {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
        names = {}
        for name in self.state_dict():
            prefix, kind, tensor = name.rsplit(".", 2)
            names[name] = f"{prefixes[prefix][kind == 'norm']}.{tensor}"
        return names


class ConvNorm(nn.Module):
    """A convolution, padded as TensorFlow does, and its norm."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        total = dilation * (kernel - 1)
        # At stride 2 and an even size, TensorFlow pads one pixel less than `total`, and leaves it out at the beginning.
        self.uneven = (total // 2 - 1, total // 2, total // 2 - 1, total // 2) if stride == 2 else None
        self.conv = nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride,
            0 if self.uneven else total // 2,
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(outputs, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride), rounded up."""
        if self.uneven is not None:
            height, width = x.shape[-2:]
            left, right, top, bottom = self.uneven
            # An odd size lacks nothing at the beginning.
            x = F.pad(x, (left + width % 2, right, top + height % 2, bottom))
        normed: Tensor = self.norm(self.conv(x))
        return normed


class _Block(nn.Module):
    """An inverted residual: expansion, depthwise convolution, projection (Sandler et al., "MobileNetV2", CVPR 2018)."""

    def __init__(self, inputs: int, stage: _Stage, stride: int, dilation: int) -> None:
        super().__init__()
        width = inputs * stage.expansion
        self.expand = ConvNorm(inputs, width, 1) if stage.expansion > 1 else None
        self.depthwise = ConvNorm(width, width, stage.kernel, stride=stride, dilation=dilation, groups=width)
        self.project = ConvNorm(width, stage.channels, 1)
        self.shortcut = stride == 1 and inputs == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else F.relu6(self.expand(x))
        out: Tensor = self.project(F.relu6(self.depthwise(inner)))
        return x + out if self.shortcut else out
