"""Convolutions of the inference form: weights laid out once for the processor, bias, sum and ReLU done in the same pass.

On the CPU the weights are packed once into oneDNN's own blocked layout and the pointwise operations ride along as its post-ops
(the operators that TorchInductor emits, called directly, so that no compiler is needed). Elsewhere they are the ordinary functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

_NO_ALGORITHM = ""  # oneDNN's "unary algorithm" argument, which ReLU does not have
_TYPICAL_SIDE = 64  # oneDNN picks the layout for this map size; any size may follow


@dataclass(frozen=True)
class Target:
    """Where and in which precision the inference form runs: fp32 or bf16 on the CPU, any float type elsewhere."""

    device: torch.device
    dtype: torch.dtype

    @property
    def packs(self) -> bool:
        """Whether oneDNN runs this precision here, so that packed weights can be used."""
        if self.device.type != "cpu" or not torch._C._has_mkldnn:
            return False
        if self.dtype == torch.bfloat16:
            return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        return self.dtype == torch.float32

    def place(self, tensor: Tensor) -> Tensor:
        """The tensor there, in that precision, channels-last if it has four dimensions."""
        layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
        return tensor.detach().to(self.device, self.dtype).contiguous(memory_format=layout)


class Upsampling(Protocol):
    """A frozen `relu(conv_transpose(x) + bias)` that doubles height and width, on channels-last tensors."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, 2H, 2W)."""
        ...


class Conv(Protocol):
    """A frozen `relu(conv(x) + bias)` (or without ReLU) on channels-last tensors."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H', W')."""
        ...

    def add_to(self, other: Tensor, x: Tensor) -> Tensor:
        """`relu(other + conv(x) + bias)`, for a convolution that ends in a sum; `other` has the shape of the answer."""
        ...


def make_conv(
    weight: Tensor, bias: Tensor | None, target: Target, *, stride: int = 1, padding: int = 0, relu: bool = True
) -> Conv:
    """A convolution with (C_out, C_in, k, k) weights; `padding` is with zeros."""
    kind = _PackedConv if target.packs else _PlainConv
    return kind(target.place(weight), None if bias is None else target.place(bias), stride, padding, relu)


def make_upsampling(weight: Tensor, bias: Tensor, target: Target) -> Upsampling:
    """The transposed 3x3 convolution that doubles height and width, with (C_in, C_out, 3, 3) weights and ReLU."""
    kind = _PackedUpsampling if target.packs else _PlainUpsampling
    return kind(target.place(weight), target.place(bias))


class _PlainConv:
    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int, padding: int, relu: bool) -> None:
        self._weight, self._bias, self._stride, self._padding, self._relu = weight, bias, stride, padding, relu

    def __call__(self, x: Tensor) -> Tensor:
        return self._activate(F.conv2d(x, self._weight, self._bias, self._stride, self._padding))

    def add_to(self, other: Tensor, x: Tensor) -> Tensor:
        return self._activate(F.conv2d(x, self._weight, self._bias, self._stride, self._padding).add_(other))

    def _activate(self, x: Tensor) -> Tensor:
        return x.relu_() if self._relu else x


class _PackedConv:
    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int, padding: int, relu: bool) -> None:
        self._bias = bias
        self._geometry = ([padding] * 2, [stride] * 2, [1, 1], 1)  # padding, stride, dilation, groups
        self._activation = "relu" if relu else "none"
        typical = [1, weight.shape[1], _TYPICAL_SIDE, _TYPICAL_SIDE]
        self._weight: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, *self._geometry, typical)

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self._geometry, self._activation, [], _NO_ALGORITHM
        )
        return out

    def add_to(self, other: Tensor, x: Tensor) -> Tensor:
        activation = self._activation if self._activation != "none" else None
        out: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
            x, other, self._weight, self._bias, *self._geometry, "add", 1.0, activation, [], _NO_ALGORITHM
        )
        return out


class _PlainUpsampling:
    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self._weight, self._bias, stride=2, padding=1, output_padding=1).relu_()


class _PackedUpsampling:
    _geometry = ([1, 1], [1, 1], [2, 2], [1, 1], 1)  # padding, output padding, stride, dilation, groups

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._bias = bias
        typical = [1, weight.shape[0], _TYPICAL_SIDE, _TYPICAL_SIDE]
        self._weight: Tensor = torch.ops.mkldnn._reorder_convolution_transpose_weight(weight, *self._geometry, typical)

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._convolution_transpose_pointwise(
            x, self._weight, self._bias, *self._geometry, "relu", [], _NO_ALGORITHM
        )
        return out
