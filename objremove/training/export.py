"""Weights in and out of training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from objremove.errors import ModelError
from objremove.models.weight_file import write_halves
from objremove.segmentation.slim_deeplab import SlimDeepLab


def write_weights(network: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a network's state as fp16 safetensors; tensors that fp16 cannot hold stay fp32.

    Raises:
        ModelError: the weights are not finite, or the file cannot be written.
    """
    state = network.state_dict()
    for key, value in state.items():
        if not bool(value.isfinite().all()):
            raise ModelError(
                f"weights {key} are not finite: begin anew from earlier ones with --init, with a lower learning rate"
            )
    write_halves(state, path, metadata)


def load_weights(network: nn.Module, path: Path) -> None:
    """Load safetensors into a network, none missing, none left over; a `SlimDeepLab` may begin as a lesser one.

    Raises:
        ModelError: the file is missing or damaged, or does not fit.
    """
    try:
        state = {key: value.float() if value.is_floating_point() else value for key, value in load_file(path).items()}
        if isinstance(network, SlimDeepLab):
            network.take_over(state)
        else:
            network.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"cannot start from {path} ({reason}): give weights of the same network") from None
