"""The high-receptive-field perceptual loss, on whichever frozen backbones are at hand.

LaMa compares features of an ADE20K segmentation encoder, dilated so that each feature sees the whole picture (Suvorov et al.,
WACV 2022, section 2.2). Where its file is not there, SqueezeNet's features (textures) and those of a dilated segmenter
(structures) do the same work together; a file's keys tell which backbone it holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from objremove.errors import ModelError
from objremove.segmentation.slim_deeplab import SlimDeepLab
from objremove.segmentation.weights import read_state

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone(nn.Module, ABC):
    """A frozen network: (B, 3, H, W) RGB in 0..1 to feature maps of several depths.

    Attributes:
        normalised: whether features are compared after scaling each pixel's channels to unit length, as networks without a common
            scale of their levels need it; ADE20K's are compared as they are, as in the paper.
    """

    normalised = True

    @abstractmethod
    def features(self, image: Tensor) -> list[Tensor]:
        """Feature maps (B, C_i, H_i, W_i), shallow to deep."""

    def forward(self, image: Tensor) -> list[Tensor]:
        """See `features`."""
        return self.features(image)


class PerceptualLoss(nn.Module):
    """Sum over backbones and levels of the mean squared difference of features."""

    def __init__(self, backbones: Sequence[Backbone]) -> None:
        super().__init__()
        self.backbones = nn.ModuleList(backbones).eval().requires_grad_(False)

    def forward(self, predicted: Tensor, real: Tensor, mask: Tensor | None = None) -> Tensor:
        """A scalar; with a (B, 1, H, W) mask (1 = hole) only what lies inside it counts, weighted by its share of each feature."""
        total = predicted.new_zeros((), dtype=torch.float32)
        for backbone in self.backbones:
            with torch.no_grad():
                expected = backbone(real)
            for mine, theirs in zip(backbone(predicted), expected, strict=True):
                total = total + _difference(mine.float(), theirs.float(), bool(backbone.normalised), mask)
        return total


class SqueezeNetFeatures(Backbone):
    """SqueezeNet 1.1 (Iandola et al., 2016; original ImageNet release): stem and six of its fire modules."""

    taps = (1, 4, 7, 9, 10, 11, 12)

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import squeezenet1_1

        self.layers = squeezenet1_1(weights=None).features
        for module in self.layers.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # taps are read after later layers have run
        self.register_buffer("mean", torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1), persistent=False)

    def features(self, image: Tensor) -> list[Tensor]:
        """Seven maps; the network wants BGR in 0..255 without its mean."""
        x = image.flip(1) * 255 - self.get_buffer("mean")
        found = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in self.taps:
                found.append(x)
        return found


class SegmenterFeatures(Backbone):
    """The residual stages of a trained `SlimDeepLab`; the last one is dilated and sees most of a 256 px crop."""

    def __init__(self, network: SlimDeepLab) -> None:
        super().__init__()
        self.stem, self.stages = (
            network.stem,
            nn.ModuleList([network.stage1, network.stage2, network.stage3, network.stage4]),
        )
        _register_imagenet(self)

    def features(self, image: Tensor) -> list[Tensor]:
        """Four maps of stride 4, 8, 16 and 16."""
        x = self.stem(_imagenet(self, image))
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class Ade20kEncoder(Backbone):
    """MIT CSAIL's ResNet-50 with a stem of three 3x3 convolutions, dilated to an output stride of 8; its published keys."""

    normalised = False

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)
        self.conv3, self.bn3 = nn.Conv2d(64, 128, 3, padding=1, bias=False), nn.BatchNorm2d(128)
        self.layer1 = _bottlenecks(128, 64, 3)
        self.layer2 = _bottlenecks(256, 128, 4, stride=2)
        self.layer3 = _bottlenecks(512, 256, 6, dilation=2)
        self.layer4 = _bottlenecks(1024, 512, 3, dilation=4)
        _register_imagenet(self)

    def features(self, image: Tensor) -> list[Tensor]:
        """Four maps: 256 channels of stride 4; 512, 1024 and 2048 of stride 8."""
        x = _imagenet(self, image)
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(norm(conv(x)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        found = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            found.append(x)
        return found


class _Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 around a shortcut; the stride is at the 3x3."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + (x if self.downsample is None else self.downsample(x)))


def _bottlenecks(inputs: int, width: int, count: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """One stage. A dilated one gave up its stride: its first block has half the dilation of the others."""
    first = _Bottleneck(inputs, width, stride, max(1, dilation // 2))
    return nn.Sequential(first, *(_Bottleneck(4 * width, width, 1, dilation) for _ in range(count - 1)))


def load_backbone(path: Path) -> Backbone:
    """The backbone in a weight file (safetensors, or PyTorch read with `weights_only`), told by its keys; frozen, in eval mode.

    Raises:
        ModelError: the file is missing, damaged or holds none of the known backbones.
    """
    state = read_state(path)
    try:
        backbone = _backbone(state)
    except RuntimeError as error:
        raise ModelError(f"{path} is not a complete backbone: {' '.join(str(error).split())[:160]}") from None
    if backbone is None:
        raise ModelError(
            f"{path} holds no perceptual backbone: give SqueezeNet 1.1, a SlimDeepLab or the ADE20K encoder"
        )
    return backbone.eval().requires_grad_(False)


def _backbone(state: dict[str, Tensor]) -> Backbone | None:
    if "features.3.squeeze.weight" in state:
        squeeze = SqueezeNetFeatures()
        features = {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")}
        squeeze.layers.load_state_dict(features)
        return squeeze
    if SlimDeepLab.is_in(state):
        return SegmenterFeatures(SlimDeepLab.of(state))
    if "conv3.weight" in state and "layer4.2.conv3.weight" in state:
        encoder = Ade20kEncoder()
        encoder.load_state_dict({key: value for key, value in state.items() if not key.startswith("fc.")})
        return encoder
    return None


def _difference(mine: Tensor, theirs: Tensor, normalised: bool, mask: Tensor | None) -> Tensor:
    if normalised:
        squared = (F.normalize(mine, dim=1) - F.normalize(theirs, dim=1)).square().sum(1, keepdim=True)
    else:
        squared = (mine - theirs).square().mean(1, keepdim=True)
    if mask is None:
        return squared.mean()
    share = F.interpolate(mask, squared.shape[-2:], mode="area")
    return (squared * share).sum() / share.sum().clamp_min(1e-6)


def _register_imagenet(module: nn.Module) -> None:
    module.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
    module.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)


def _imagenet(module: nn.Module, image: Tensor) -> Tensor:
    return (image - module.get_buffer("mean")) / module.get_buffer("std")
