"""The inference form of a LaMa generator: the same function with fewer, larger operations and far less memory.

* Every BatchNorm becomes a factor of the weights before it and a bias; where it follows a sum of paths, of all of them.
* Paths that end in the same sum become one convolution over stacked channels, paths that share an input one over stacked outputs.
* Feature maps are channels-last; the 1x1 convolution on the spectrum then takes real and imaginary parts as they lie in memory.
* Everything runs in the chosen precision but the FFT pair, the sum of the residuals and the two stages at full resolution, which are
  fp32: in bf16 those two made a third of the error, and alone brought its maximum over 4/255.
* The two stages at full resolution run in bands of rows, so no full-resolution feature map ever exists.

Facts about the network: Suvorov et al., WACV 2022, section 2; numbers: benchmarks/bench_lama.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from objremove.inpainting.lama.convolution import Target, make_conv, make_upsampling
from objremove.inpainting.lama.generator import FFCResNetGenerator, Generator, OutputActivation, ResnetBlock
from objremove.inpainting.lama.layers import (
    FFC_BN_ACT,
    FFCResnetBlock,
    FourierUnit,
    SpectralTransform,
    stack_quadrants,
)

_T = TypeVar("_T")
_Affine: TypeAlias = tuple[Tensor, Tensor]  # weight and bias of a convolution

_BAND_PIXELS = 1 << 16
"""Full-resolution pixels (output rows times width) in one band: 8 MB of 64-channel bf16 features."""


def fold(
    generator: Generator, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> FoldedGenerator:
    """The inference form of a generator in eval mode, for one precision on one device; the generator itself stays as it is.

    The answer maps (B, 4, H, W) float (masked RGB in 0..1, mask with 1 = hole) to (B, 3, H, W) float32. H and W must be multiples
    of `generator.config.modulo` and at least 16.
    """
    if generator.training:
        raise ValueError("only a generator in eval mode can be folded: its BatchNorm statistics must be final")
    target = Target(torch.device(device), dtype)
    with torch.inference_mode():
        return FoldedGenerator(generator, target)


class FoldedGenerator(nn.Module):
    """See `fold`. It has no parameters or buffers to train, move or save: for another device or precision, fold again."""

    def __init__(self, generator: Generator, target: Target) -> None:
        super().__init__()
        self.config = generator.config
        layers = _Layers(generator.model)
        levels, blocks = range(self.config.n_downsampling), range(self.config.n_blocks)
        if isinstance(generator, FFCResNetGenerator):
            pad_mode = "reflect"
            stem, *downs = [_fold_without_global_input(layers.take(FFC_BN_ACT)) for _ in (0, *levels)]
            self._trunk: _FFCTrunk | _RegularTrunk = _FFCTrunk([layers.take(FFCResnetBlock) for _ in blocks], target)
        else:
            pad_mode = "constant"
            stem, *downs = [_fold_pair(layers.take(nn.Conv2d), layers.take(nn.BatchNorm2d)) for _ in (0, *levels)]
            self._trunk = _RegularTrunk([layers.take(ResnetBlock) for _ in blocks], target)
        ups = [_fold_pair(layers.take(nn.ConvTranspose2d), layers.take(nn.BatchNorm2d)) for _ in levels]
        at_full_size = Target(target.device, torch.float32)
        self._at_full_size = at_full_size
        self._entry = _Entry(stem, downs[0], pad_mode, at_full_size, target.dtype)
        self._downs = [_Down(down, pad_mode, target) for down in downs[1:]]
        self._ups = [make_upsampling(*up, target) for up in ups[:-1]]
        self._exit = _Exit(ups[-1], layers.take(nn.Conv2d), self.config.out_act, at_full_size)

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        """(B, 4, H, W) float to (B, 3, H, W) float32; safe to call from several threads at once."""
        modulo = self.config.modulo
        if x.shape[2] % modulo or x.shape[3] % modulo or min(x.shape[2:]) < 16:
            raise ValueError(f"height and width must be multiples of {modulo} from 16 on, not {tuple(x.shape[2:])}")
        x = self._entry(self._at_full_size.place(x))
        for down in self._downs:
            x = down(x)
        x = self._trunk(x)
        for up in self._ups:
            x = up(x)
        return self._exit(x)


class _Entry:
    """Stem (7x7) and first downsampling, band by band: only the half-resolution result is ever held whole."""

    def __init__(self, stem: _Affine, down: _Affine, pad_mode: str, target: Target, dtype: torch.dtype) -> None:
        """`dtype` is that of the result, which the trunk goes on with."""
        self._stem = make_conv(*stem, target)
        self._down = make_conv(*down, target, stride=2)
        self._pad_mode = pad_mode
        self._channels = len(down[0])
        self._dtype = dtype

    def __call__(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        padded = F.pad(x, (3, 3, 3, 3), mode="reflect")
        shape = (batch, self._channels, height // 2, width // 2)
        out = torch.empty(shape, dtype=self._dtype, device=x.device, memory_format=torch.channels_last)
        rows = _band_rows(width) // 2
        for first in range(0, height // 2, rows):
            last = min(first + rows, height // 2)
            # Output row i reads stem rows 2i-1 to 2i+1, and stem row j reads padded rows j to j+6.
            features = self._stem(padded[:, :, max(2 * first - 1, 0) : 2 * last + 6])
            # For an even size a stride of 2 never reads the padding at the far end.
            features = F.pad(features, (1, 0, 1 if first == 0 else 0, 0), mode=self._pad_mode)
            out[:, :, first:last] = self._down(features)
        return out


class _Down:
    """A 3x3 convolution of stride 2 on maps of even size."""

    def __init__(self, folded: _Affine, pad_mode: str, target: Target) -> None:
        self._conv = make_conv(*folded, target, stride=2)
        self._pad_mode = pad_mode

    def __call__(self, x: Tensor) -> Tensor:
        return self._conv(F.pad(x, (1, 0, 1, 0), mode=self._pad_mode))


class _Exit:
    """Last upsampling, head (7x7) and output activation, band by band, into an fp32 picture."""

    def __init__(self, up: _Affine, head: nn.Conv2d, activation: OutputActivation, target: Target) -> None:
        self._up = make_upsampling(*up, target)
        self._head = make_conv(head.weight, head.bias, target, relu=False)
        self._activation = activation
        self._channels = head.out_channels

    def __call__(self, x: Tensor) -> Tensor:
        batch, _, half, width = x.shape
        height = 2 * half
        out = torch.empty((batch, self._channels, height, 2 * width), device=x.device)
        rows = _band_rows(2 * width)
        for first in range(0, height, rows):
            last = min(first + rows, height)
            # The head reads 3 rows more at either end; those beyond the picture are reflected.
            top, bottom = max(first - 3, 0), min(last + 3, height)
            # Rows 2i and 2i+1 need input rows i and i+1, so one input row more than it seems.
            start = top // 2
            features = self._up(x[:, :, start : bottom // 2 + 1].float())[:, :, top - 2 * start : bottom - 2 * start]
            features = F.pad(features, (3, 3, top - (first - 3), last + 3 - bottom), mode="reflect")
            out[:, :, first:last] = self._head(features)
        if self._activation == "none":
            return out
        return out.sigmoid_() if self._activation == "sigmoid" else out.tanh_()


class _FFCTrunk:
    """The residual FFC blocks, on (B, C_local + C_global, h, w)."""

    def __init__(self, blocks: Sequence[FFCResnetBlock], target: Target) -> None:
        self._blocks = [(_FoldedFFC(block.conv1, target), _FoldedFFC(block.conv2, target)) for block in blocks]
        self._n_local = blocks[0].conv1.bn_l.num_features

    def __call__(self, x: Tensor) -> Tensor:
        local = _residual_stream(x[:, : self._n_local])
        globl = _residual_stream(x[:, self._n_local :])
        for conv1, conv2 in self._blocks:
            residual = conv2(*conv1(local.to(x.dtype), globl.to(x.dtype)))
            local += residual[0]
            globl += residual[1]
        return torch.cat((local, globl), dim=1).to(x.dtype)


class _FoldedFFC:
    """A 3x3 FFC with its BatchNorms and ReLUs, as two 3x3 convolutions and the spectral path."""

    def __init__(self, layer: FFC_BN_ACT, target: Target) -> None:
        ffc, bn_g = layer.ffc, _expect(layer.bn_g, nn.BatchNorm2d)
        scale_local, shift_local = _scale_and_shift(layer.bn_l)
        scale_global, shift_global = _scale_and_shift(bn_g)
        to_local = torch.cat((_expect(ffc.convl2l, nn.Conv2d).weight, _expect(ffc.convg2l, nn.Conv2d).weight), dim=1)
        self._to_local = make_conv(_scaled(to_local, scale_local), shift_local, target)
        self._local_to_global = make_conv(
            _scaled(_expect(ffc.convl2g, nn.Conv2d).weight, scale_global), None, target, relu=False
        )
        self._spectral = _FoldedSpectral(_expect(ffc.convg2g, SpectralTransform), scale_global, shift_global, target)
        self._n_local = layer.bn_l.num_features

    def __call__(self, local: Tensor, globl: Tensor) -> tuple[Tensor, Tensor]:
        padded = F.pad(torch.cat((local, globl), dim=1), (1, 1, 1, 1), mode="reflect")
        from_local = self._local_to_global(padded[:, : self._n_local])
        return self._to_local(padded), self._spectral(globl, from_local)


class _FoldedSpectral:
    """A spectral transform whose last convolution carries the scale and shift of the BatchNorm after the branch's sum."""

    def __init__(self, layer: SpectralTransform, scale: Tensor, shift: Tensor, target: Target) -> None:
        conv, bn, _ = layer.conv1
        self._reduce = make_conv(*_fold_pair(_expect(conv, nn.Conv2d), _expect(bn, nn.BatchNorm2d)), target)
        self._fourier = _FoldedFourier(layer.fu, target)
        self._quadrant_fourier = None if layer.lfu is None else _FoldedFourier(layer.lfu, target)
        self._expand = make_conv(_scaled(layer.conv2.weight, scale), shift, target)

    def __call__(self, globl: Tensor, from_local: Tensor) -> Tensor:
        reduced = self._reduce(globl)
        total = self._fourier(reduced).add_(reduced)
        if self._quadrant_fourier is not None:
            total += self._quadrant_fourier(stack_quadrants(reduced)).repeat(1, 1, 2, 2)
        return self._expand.add_to(from_local, total)


class _FoldedFourier:
    """A Fourier unit on channels-last maps: (B, C, h, w) in and out."""

    def __init__(self, layer: FourierUnit, target: Target) -> None:
        self._filter = make_conv(*_fold_pair(layer.conv_layer, layer.bn), target)

    def __call__(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        planes = _transpose(x.permute(0, 2, 3, 1).flatten(1, 2)).view(x.shape)
        pairs = torch.view_as_real(torch.fft.rfft2(planes.float(), norm="ortho")).to(x.dtype).contiguous()
        # A (re, im) pair moves as one word, so that channels end up interleaved: the order that the weights have.
        word = torch.int64 if x.dtype.itemsize == 4 else torch.int32
        stacked = _transpose(pairs.view(word).flatten(2)).view(x.dtype).view(batch, height, -1, 2 * channels)
        filtered = self._filter(stacked.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).float()
        spectrum = torch.view_as_complex(filtered.view(batch, height, -1, channels, 2))
        out: Tensor = torch.fft.irfft2(spectrum, s=(height, width), dim=(1, 2), norm="ortho")
        planes = out.permute(0, 3, 1, 2).to(x.dtype).contiguous()
        return _transpose(planes.flatten(2)).view(batch, height, width, channels).permute(0, 3, 1, 2)


class _RegularTrunk:
    """The residual blocks of the regular generator, on (B, C, h, w)."""

    def __init__(self, blocks: Sequence[ResnetBlock], target: Target) -> None:
        self._blocks = []
        for block in blocks:
            _, conv1, bn1, _, _, conv2, bn2 = block.conv_block
            first = _fold_pair(_expect(conv1, nn.Conv2d), _expect(bn1, nn.BatchNorm2d))
            second = _fold_pair(_expect(conv2, nn.Conv2d), _expect(bn2, nn.BatchNorm2d))
            self._blocks.append((make_conv(*first, target), make_conv(*second, target, relu=False)))

    def __call__(self, x: Tensor) -> Tensor:
        around = (1, 1, 1, 1)
        total = _residual_stream(x)
        for conv1, conv2 in self._blocks:
            features = conv1(F.pad(total.to(x.dtype), around, mode="reflect"))
            total += conv2(F.pad(features, around, mode="reflect"))
        return total.to(x.dtype)


def _scale_and_shift(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Eval-mode BatchNorm as `x * scale + shift`, in float64, so that folding adds no rounding of its own."""
    mean, variance = _expect(bn.running_mean, Tensor).double(), _expect(bn.running_var, Tensor).double()
    scale = bn.weight.double() / torch.sqrt(variance + bn.eps)
    return scale, bn.bias.double() - mean * scale


def _fold_pair(conv: nn.Conv2d | nn.ConvTranspose2d, bn: nn.BatchNorm2d) -> _Affine:
    scale, shift = _scale_and_shift(bn)
    if conv.bias is not None:
        shift = shift + conv.bias.double() * scale
    axis = 1 if isinstance(conv, nn.ConvTranspose2d) else 0
    return _scaled(conv.weight, scale, axis), shift


def _fold_without_global_input(layer: FFC_BN_ACT) -> _Affine:
    """An FFC with local input only is one convolution whose output channels are local, then global."""
    weights, shifts = [], []
    for conv, bn in ((layer.ffc.convl2l, layer.bn_l), (layer.ffc.convl2g, layer.bn_g)):
        if conv is not None:
            weight, shift = _fold_pair(conv, _expect(bn, nn.BatchNorm2d))
            weights.append(weight)
            shifts.append(shift)
    return torch.cat(weights), torch.cat(shifts)


def _scaled(weight: Tensor, scale: Tensor, axis: int = 0) -> Tensor:
    shape = [1] * weight.ndim
    shape[axis] = -1
    return weight.double() * scale.view(shape)


def _transpose(x: Tensor) -> Tensor:
    """(B, M, N) to contiguous (B, N, M), a matrix at a time: PyTorch has a blocked copy for two dimensions, and only for them."""
    out = x.new_empty(x.shape[0], x.shape[2], x.shape[1])
    for target, source in zip(out, x, strict=True):
        target.copy_(source.t())
    return out


def _residual_stream(x: Tensor) -> Tensor:
    """A copy to add the blocks' residuals to: in fp32, since bf16 would round the whole sum anew at each block."""
    return x.to(torch.float32, memory_format=torch.channels_last, copy=True)


def _band_rows(width: int) -> int:
    """Rows of a band, even and enough for the reflection at its ends."""
    return max(8, _BAND_PIXELS // width // 2 * 2)


def _expect(value: object, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__} in the generator, found {type(value).__name__}")
    return value


class _Layers:
    """Walks through a generator's layers in order."""

    def __init__(self, layers: nn.Sequential) -> None:
        self._rest = iter(layers)

    def take(self, kind: type[_T]) -> _T:
        """The next layer of that kind; layers without weights before it are passed over."""
        for layer in self._rest:
            if isinstance(layer, kind):
                return layer
            if next(layer.parameters(), None) is not None:
                break
        raise TypeError(f"expected {kind.__name__} in the generator")
