"""Weights to files: fp16 safetensors with metadata, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from objremove.errors import ModelError


def write_halves(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a state dict as fp16 safetensors; tensors that fp16 cannot hold (beyond 65504) stay fp32.

    Raises:
        ModelError: the file cannot be written.
    """
    halves = {key: _to_half(value.detach().cpu()) for key, value in state.items()}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(save(halves, dict(metadata)))
        os.replace(unfinished, path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot write weights to {path} ({error}): choose another folder") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _to_half(value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value.contiguous()
    half = value.half()
    return half.contiguous() if bool(half.isfinite().all()) else value.float().contiguous()
