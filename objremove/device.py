"""Which processor runs the networks, and in which precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from objremove.errors import UsageError

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "fp32", "bf16"]


def resolve_device(name: str = "auto") -> torch.device:
    """`auto` (CUDA, else Apple's MPS, else CPU), `cpu`, `cuda`, `cuda:N` or `mps` as a torch device that is there.

    Raises:
        UsageError: the name is unknown or the device is not on this machine.
    """
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"unknown device {name!r}: take auto, cpu, cuda, cuda:N or mps")
    if device.type == "cuda" and (not cuda or (device.index or 0) >= torch.cuda.device_count()):
        raise UsageError(
            f"device {name!r} is not on this machine: {torch.cuda.device_count()} CUDA devices found, take cpu"
        )
    if device.type == "mps" and not mps:
        raise UsageError("device 'mps' is not on this machine: take cpu")
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 convolutions run in hardware there: on the CPU with AVX-512 BF16 or AMX, on CUDA from Ampere on."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.get_device_capability(device)[0] >= 8)
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return False


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto` (bf16 where the processor has it, else fp32), `fp32` or `bf16` as the dtype of weights and convolutions.

    Raises:
        UsageError: the name is unknown.
    """
    import torch

    if name not in ("auto", "fp32", "bf16"):
        raise UsageError(f"unknown precision {name!r}: take auto, fp32 or bf16")
    if name == "auto":
        return torch.bfloat16 if has_fast_bf16(device) else torch.float32
    return torch.bfloat16 if name == "bf16" else torch.float32
