"""Weights in and out of training: fp16 safetensors with metadata, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from objremove.errors import ModelError


def write_weights(network: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a network's state as fp16 safetensors; tensors that fp16 cannot hold stay fp32.

    Raises:
        ModelError: the weights are not finite, or the file cannot be written.
    """
    tensors = {key: _to_half(key, value) for key, value in network.state_dict().items()}
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        save_file(tensors, unfinished, metadata=dict(metadata))
        os.replace(unfinished, path)
    except (OSError, SafetensorError) as error:
        unfinished.unlink(missing_ok=True)
        raise ModelError(f"cannot write weights to {path} ({error}): choose another folder") from None


def load_weights(network: nn.Module, path: Path) -> None:
    """Load safetensors into a network, none missing, none left over.

    Raises:
        ModelError: the file is missing or damaged, or does not fit.
    """
    try:
        state = load_file(path)
        network.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
        )
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"cannot start from {path} ({reason}): give weights of the same network") from None


def _to_half(key: str, value: Tensor) -> Tensor:
    value = value.detach().cpu().contiguous()
    if not value.is_floating_point():
        return value
    if not bool(value.isfinite().all()):
        raise ModelError(f"weights {key} are not finite: go on from an earlier checkpoint with a lower learning rate")
    half = value.half()
    return half if bool(half.isfinite().all()) else value.float()
