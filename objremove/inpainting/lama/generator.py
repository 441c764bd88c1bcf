"""The LaMa generators: the fast-Fourier-convolution network and the pix2pixHD-style one without Fourier layers.

Both map (B, 4, H, W) float (RGB in 0..1 with the hole set to 0, then the mask, 1 = hole) to (B, 3, H, W), and their state dicts
have the keys, shapes and order of the published ones. Source: Suvorov et al., WACV 2022, section 2 and appendix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from torch import Tensor, nn

from objremove.inpainting.lama.layers import FFC_BN_ACT, ConcatBranches, FFCResnetBlock, split_channels

OutputActivation = Literal["sigmoid", "tanh", "none"]


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything that decides a generator's shape, and what holes its weights are fit for.

    Attributes:
        kind: `ffc` (Fourier) or `regular` (pix2pixHD).
        input_nc: input channels; 4 = masked RGB and mask.
        output_nc: output channels; 3 = RGB.
        ngf: channels after the stem; they double with each downsampling up to `max_features`.
        n_downsampling: how often the resolution is halved before the residual blocks.
        n_blocks: number of residual blocks.
        max_features: upper bound of the channels.
        ratio: share of the residual blocks' channels that is global (`ffc` only).
        lfu: whether the spectral transforms have a local Fourier unit too (`ffc` only; no published LaMa model has).
        out_act: activation of the output.
        hole_width: widest hole in pixels that the weights fill well. Of the published ones it is 250: their training holes had a 95th
            percentile of 224 px, and quality falls from about 250 px on.
        sharp_width: widest hole in pixels in which they draw textures, too, and not structures alone.
    """

    kind: Literal["ffc", "regular"] = "ffc"
    input_nc: int = 4
    output_nc: int = 3
    ngf: int = 64
    n_downsampling: int = 3
    n_blocks: int = 18
    max_features: int = 1024
    ratio: float = 0.75
    lfu: bool = False
    out_act: OutputActivation = "sigmoid"
    hole_width: int = 250
    sharp_width: int = 250

    def __post_init__(self) -> None:
        """Refuse what no generator can be built from.

        Raises:
            ValueError: naming the field.
        """
        sizes = (
            "input_nc",
            "output_nc",
            "ngf",
            "n_downsampling",
            "n_blocks",
            "max_features",
            "hole_width",
            "sharp_width",
        )
        for field in sizes:
            if not isinstance(getattr(self, field), int) or getattr(self, field) < 1:
                raise ValueError(f"{field} must be a positive integer, not {getattr(self, field)!r}")
        if self.sharp_width > self.hole_width:
            raise ValueError(f"sharp_width {self.sharp_width} must not be above hole_width {self.hole_width}")
        if self.kind not in ("ffc", "regular") or self.out_act not in ("sigmoid", "tanh", "none"):
            raise ValueError(f"unknown kind {self.kind!r} or out_act {self.out_act!r}")
        if self.kind == "ffc" and not all(split_channels(self.width(self.n_downsampling), self.ratio)):
            raise ValueError(f"ratio must leave channels for both branches, not {self.ratio!r}")

    def width(self, level: int) -> int:
        """Channels after `level` downsamplings."""
        return min(self.max_features, self.ngf << level)

    @property
    def modulo(self) -> int:
        """Input height and width must be multiples of this; a local Fourier unit halves the smallest maps once more."""
        return int(1 << (self.n_downsampling + self.lfu))


CONFIGS: Mapping[str, GeneratorConfig] = MappingProxyType(
    {
        "lama-fourier": GeneratorConfig(n_blocks=9),
        "big-lama": GeneratorConfig(n_blocks=18),
        "lama-regular": GeneratorConfig(kind="regular", n_blocks=9),
        "big-lama-regular": GeneratorConfig(kind="regular", n_blocks=15),
    }
)
"""The published architectures by name."""


class FFCResNetGenerator(nn.Module):
    """LaMa-Fourier and Big-LaMa: stem, downsamplings, residual FFC blocks, transposed convolutions, head.

    Only the last downsampling opens the global branch; stem and earlier downsamplings are plain convolutions in an FFC's clothes.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        levels = config.n_downsampling
        trunk = split_channels(config.width(levels), config.ratio)
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            FFC_BN_ACT((config.input_nc, 0), (config.ngf, 0), kernel_size=7),
        ]
        for level in range(levels):
            outputs = trunk if level == levels - 1 else (config.width(level + 1), 0)
            layers.append(FFC_BN_ACT((config.width(level), 0), outputs, kernel_size=3, stride=2, padding=1))
        layers += [FFCResnetBlock(trunk, config.lfu) for _ in range(config.n_blocks)]
        layers += [ConcatBranches(), *_upsampling_and_head(config)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 4, H, W) masked RGB in 0..1 and mask (1 = hole) to (B, 3, H, W); H and W multiples of `config.modulo`, at least 16."""
        out: Tensor = self.model(x)
        return out


class ResnetBlock(nn.Module):
    """Residual block of the regular generator: two reflect-padded 3x3 convolutions, ReLU after the first only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, kernel_size=3),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, kernel_size=3),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in and out."""
        out: Tensor = x + self.conv_block(x)
        return out


class GlobalGenerator(nn.Module):
    """LaMa-Regular: the pix2pixHD generator (Wang et al., CVPR 2018, section 3.1), whose downsamplings pad with zeros."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(config.input_nc, config.ngf, kernel_size=7),
            nn.BatchNorm2d(config.ngf),
            nn.ReLU(inplace=True),
        ]
        for level in range(config.n_downsampling):
            inputs, outputs = config.width(level), config.width(level + 1)
            layers += [
                nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        layers += [ResnetBlock(config.width(config.n_downsampling)) for _ in range(config.n_blocks)]
        layers += _upsampling_and_head(config)
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 4, H, W) masked RGB in 0..1 and mask (1 = hole) to (B, 3, H, W); H and W multiples of `config.modulo`, at least 16."""
        out: Tensor = self.model(x)
        return out


Generator: TypeAlias = FFCResNetGenerator | GlobalGenerator


def build_generator(config: GeneratorConfig) -> Generator:
    """A generator of that shape with freshly initialised weights, in training mode."""
    return FFCResNetGenerator(config) if config.kind == "ffc" else GlobalGenerator(config)


def _upsampling_and_head(config: GeneratorConfig) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for level in reversed(range(config.n_downsampling)):
        inputs, outputs = config.width(level + 1), config.width(level)
        layers += [
            nn.ConvTranspose2d(inputs, outputs, kernel_size=3, stride=2, padding=1, output_padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(config.ngf, config.output_nc, kernel_size=7)]
    return [*layers, *_output_activation(config.out_act)]


def _output_activation(name: OutputActivation) -> list[nn.Module]:
    activations: dict[OutputActivation, list[nn.Module]] = {"sigmoid": [nn.Sigmoid()], "tanh": [nn.Tanh()], "none": []}
    return activations[name]
