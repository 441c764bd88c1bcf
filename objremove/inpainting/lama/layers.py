"""Fast Fourier convolution (FFC), the layer that gives LaMa an image-wide receptive field from its first block on.

An FFC splits its channels into a local branch (ordinary convolutions) and a global branch (a 1x1 convolution on the half
spectrum of the feature map). Sources: Chi et al., "Fast Fourier Convolution" (NeurIPS 2020), section 3; Suvorov et al.,
"Resolution-robust Large Mask Inpainting with Fourier Convolutions" (WACV 2022), section 2.1. Attribute names follow the keys
of the published checkpoints.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn


class Branches(NamedTuple):
    """The two channel groups of a feature map: (B, C_local, H, W) and (B, C_global, H, W), or None for a group without channels."""

    local: Tensor
    globl: Tensor | None


Features: TypeAlias = Tensor | Branches


def split_channels(channels: int, ratio: float) -> tuple[int, int]:
    """How many of `channels` are local and global, if the share `ratio` of them (0..1) is global."""
    globl = min(max(int(channels * ratio + 1e-6), 0), channels)
    return channels - globl, globl


class FourierUnit(nn.Module):
    """Pointwise convolution in the frequency domain: (B, C, H, W) to (B, C_out, H, W); each output pixel sees the whole map.

    The real FFT pair is orthonormal and runs in fp32 also under autocast (half-precision FFTs are missing on the CPU and limited to
    powers of two on CUDA). Real and imaginary parts are interleaved on the channel axis: re(c0), im(c0), re(c1), ...
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_layer = nn.Conv2d(in_channels * 2, out_channels * 2, kernel_size=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels * 2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Filter the spectrum of `x`; the answer has its size and dtype."""
        batch, _, height, width = x.shape
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.view_as_real(torch.fft.rfft2(_at_least_fp32(x), norm="ortho"))
        # (B, C, H, W/2+1, 2) -> (B, 2C, H, W/2+1)
        stacked = spectrum.permute(0, 1, 4, 2, 3).flatten(1, 2)
        stacked = self.relu(self.bn(self.conv_layer(stacked.to(x.dtype))))
        with torch.autocast(x.device.type, enabled=False):
            parts = _at_least_fp32(stacked).view(batch, -1, 2, *stacked.shape[-2:]).permute(0, 1, 3, 4, 2).contiguous()
            # irfft needs the size: an odd width has the same half spectrum as the even one below it.
            filtered: Tensor = torch.fft.irfft2(torch.view_as_complex(parts), s=(height, width), norm="ortho")
        return filtered.to(x.dtype)


class SpectralTransform(nn.Module):
    """The global-to-global path of an FFC: bottleneck to half the channels, Fourier unit(s) with a skip, back to full width.

    With `lfu` a second Fourier unit (the local Fourier unit) works on the four quadrants of the first quarter of the channels.
    """

    def __init__(self, in_channels: int, out_channels: int, lfu: bool = False) -> None:
        super().__init__()
        hidden = out_channels // 2
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, hidden, kernel_size=1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True)
        )
        self.fu = FourierUnit(hidden, hidden)
        self.lfu = FourierUnit(hidden, hidden) if lfu else None
        self.conv2 = nn.Conv2d(hidden, out_channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H, W); with `lfu` H and W must be even."""
        x = self.conv1(x)
        out = x + self.fu(x)
        if self.lfu is not None:
            out = out + self.lfu(stack_quadrants(x)).repeat(1, 1, 2, 2)
        projected: Tensor = self.conv2(out)
        return projected


def stack_quadrants(x: Tensor) -> Tensor:
    """The first C/4 channels of (B, C, H, W), cut into four quadrants stacked on channels: (B, C, H/2, W/2)."""
    quarter = x[:, : x.shape[1] // 4]
    rows = torch.cat(quarter.chunk(2, dim=2), dim=1)
    return torch.cat(rows.chunk(2, dim=3), dim=1)


class FFC(nn.Module):
    """One fast Fourier convolution: local and global channels in, local and global channels out, no bias.

    A path with no channels on one of its sides does not exist (and has no keys). Spatial paths pad by reflection.
    """

    def __init__(
        self,
        in_channels: tuple[int, int],
        out_channels: tuple[int, int],
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        lfu: bool = False,
    ) -> None:
        super().__init__()
        (in_local, in_global), (out_local, out_global) = in_channels, out_channels

        def spatial(inputs: int, outputs: int) -> nn.Conv2d | None:
            if not inputs or not outputs:
                return None
            return nn.Conv2d(inputs, outputs, kernel_size, stride, padding, bias=False, padding_mode="reflect")

        self.convl2l = spatial(in_local, out_local)
        self.convl2g = spatial(in_local, out_global)
        self.convg2l = spatial(in_global, out_local)
        self.convg2g = SpectralTransform(in_global, out_global, lfu) if in_global and out_global else None

    def forward(self, x: Features) -> Branches:
        """Apply the paths that exist and sum those that end in the same branch."""
        local, globl = x if isinstance(x, Branches) else (x, None)
        out_local = _sum_of_paths((self.convl2l, local), (self.convg2l, globl))
        if out_local is None:
            raise ValueError("an FFC needs at least one local output channel")
        return Branches(out_local, _sum_of_paths((self.convl2g, local), (self.convg2g, globl)))


class FFC_BN_ACT(nn.Module):
    """FFC, then BatchNorm and ReLU on each branch."""

    def __init__(
        self,
        in_channels: tuple[int, int],
        out_channels: tuple[int, int],
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        lfu: bool = False,
    ) -> None:
        super().__init__()
        self.ffc = FFC(in_channels, out_channels, kernel_size, stride, padding, lfu)
        self.bn_l = nn.BatchNorm2d(out_channels[0])
        self.bn_g = nn.BatchNorm2d(out_channels[1]) if out_channels[1] else None
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Features) -> Branches:
        """Features in, normalised and rectified branches out."""
        local, globl = self.ffc(x)
        local = self.act(self.bn_l(local))
        if self.bn_g is not None:
            globl = self.act(self.bn_g(globl))
        return Branches(local, globl)


class FFCResnetBlock(nn.Module):
    """Two 3x3 FFCs, each with BatchNorm and ReLU, and an identity skip on each branch."""

    def __init__(self, channels: tuple[int, int], lfu: bool = False) -> None:
        super().__init__()
        self.conv1 = FFC_BN_ACT(channels, channels, kernel_size=3, padding=1, lfu=lfu)
        self.conv2 = FFC_BN_ACT(channels, channels, kernel_size=3, padding=1, lfu=lfu)

    def forward(self, x: Branches) -> Branches:
        """Branches in and out, of equal shapes."""
        residual = self.conv2(self.conv1(x))
        globl = None if x.globl is None else x.globl + residual.globl
        return Branches(x.local + residual.local, globl)


class ConcatBranches(nn.Module):
    """Local and global channels back in one tensor, local first."""

    def forward(self, x: Branches) -> Tensor:
        """(B, C_local + C_global, H, W)."""
        return x.local if x.globl is None else torch.cat((x.local, x.globl), dim=1)


def _sum_of_paths(*paths: tuple[nn.Module | None, Tensor | None]) -> Tensor | None:
    outputs: list[Tensor] = [module(x) for module, x in paths if module is not None]
    return sum(outputs[1:], outputs[0]) if outputs else None


def _at_least_fp32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
