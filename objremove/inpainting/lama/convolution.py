"""Convolutions of the inference form: bias, sum and ReLU happen while the result is still in the processor's cache.

On the CPU they ride along as oneDNN post-operations, through the operators that TorchInductor emits, called directly, so that no
compiler is needed. Elsewhere they are the ordinary functions. Weights are not packed into oneDNN's blocked layouts: which one a
convolution wants changes with the size of its input, and undoing a wrong choice costs ten times the convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

_NO_ALGORITHM = ""  # oneDNN's "unary algorithm", which ReLU does not have


@dataclass(frozen=True)
class Target:
    """Where and in which precision the inference form runs."""

    device: torch.device
    dtype: torch.dtype

    @property
    def fuses(self) -> bool:
        """Whether oneDNN runs convolutions of this precision here, so that its post-operations can be used."""
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
    """A frozen `relu(conv(x) + bias)` (or without ReLU) without padding, on channels-last tensors."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H', W')."""
        ...

    def add_to(self, other: Tensor, x: Tensor) -> Tensor:
        """`relu(other + conv(x) + bias)`, for a convolution that ends in a sum; `other` has the shape of the answer."""
        ...


def make_conv(weight: Tensor, bias: Tensor | None, target: Target, *, stride: int = 1, relu: bool = True) -> Conv:
    """A convolution with (C_out, C_in, k, k) weights."""
    kind = _FusedConv if target.fuses else _PlainConv
    return kind(target.place(weight), None if bias is None else target.place(bias), stride, relu)


def make_upsampling(weight: Tensor, bias: Tensor, target: Target) -> Upsampling:
    """A transposed convolution (stride 2, padding 1, output padding 1) with (C_in, C_out, 3, 3) weights and ReLU."""
    kind = _FusedUpsampling if target.fuses else _PlainUpsampling
    return kind(target.place(weight), target.place(bias))


class _PlainConv:
    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int, relu: bool) -> None:
        self._weight, self._bias, self._stride, self._relu = weight, bias, stride, relu

    def __call__(self, x: Tensor) -> Tensor:
        out = F.conv2d(x, self._weight, self._bias, self._stride)
        return out.relu_() if self._relu else out

    def add_to(self, other: Tensor, x: Tensor) -> Tensor:
        out = F.conv2d(x, self._weight, self._bias, self._stride).add_(other)
        return out.relu_() if self._relu else out


class _FusedConv:
    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int, relu: bool) -> None:
        self._weight, self._bias = weight, bias
        self._geometry = ([0, 0], [stride, stride], [1, 1], 1)  # padding, stride, dilation, groups
        self._relu = relu

    def __call__(self, x: Tensor) -> Tensor:
        activation = "relu" if self._relu else "none"
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self._geometry, activation, [], _NO_ALGORITHM
        )
        return out

    def add_to(self, other: Tensor, x: Tensor) -> Tensor:
        activation = "relu" if self._relu else None
        out: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
            x, other, self._weight, self._bias, *self._geometry, "add", 1.0, activation, [], _NO_ALGORITHM
        )
        return out


class _PlainUpsampling:
    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self._weight, self._bias, stride=2, padding=1, output_padding=1).relu_()


class _FusedUpsampling:
    _geometry = ([1, 1], [1, 1], [2, 2], [1, 1], 1)  # padding, output padding, stride, dilation, groups

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._convolution_transpose_pointwise(
            x, self._weight, self._bias, *self._geometry, "relu", [], _NO_ALGORITHM
        )
        return out
