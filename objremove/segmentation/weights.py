"""Weight files to modules: read without executing anything, recognise the architecture, fold BatchNorm."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from objremove.errors import ModelError

State = dict[str, Tensor]


def read_state(path: Path) -> State:
    """The state dict in a `.safetensors` file or in a PyTorch file, the latter read with `weights_only`; floats in fp32.

    Raises:
        ModelError: it cannot be read, is damaged, holds code or holds no state dict.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"cannot read weights {path}: {error.strerror or error}") from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ModelError(f"{path} is not a whole weight file, or holds more than weights: fetch it anew") from error
    for wrapper in ("state_dict", "model"):  # of Lightning's checkpoints and of torchvision's own training
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelError(f"{path} holds no state dict: give a file of named tensors")
    return {
        str(key).removeprefix("module."): value.float() if value.is_floating_point() else value
        for key, value in content.items()
    }


def load_state(module: nn.Module, state: State, *, path: Path) -> None:
    """Make the tensors of `state` those of `module`, none missing, none left over; `module` may be on the meta device.

    Raises:
        ModelError: keys or shapes do not fit.
    """
    try:
        module.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ModelError(f"{path} does not fit {type(module).__name__}: {_first_line(error)}") from error
    module.requires_grad_(False)


def fits(module: nn.Module, state: State) -> bool:
    """Whether names and shapes of `state` are those of `module` (which may live on the meta device)."""
    own = {key: value.shape for key, value in module.state_dict().items() if not _is_counter(key)}
    return own == {key: value.shape for key, value in state.items() if not _is_counter(key)}


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Fold every BatchNorm2d into the convolution defined right before it, in place; `module` must be in eval mode.

    Holds for networks whose convolutions are each followed by their own norm, as all of those here are.
    """
    for parent in module.modules():
        previous: tuple[str, nn.Module] = ("", parent)
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and isinstance(previous[1], nn.Conv2d):
                setattr(parent, previous[0], fuse_conv_bn_eval(previous[1], child))
                setattr(parent, name, nn.Identity())
            previous = (name, child)
    return module


def _is_counter(key: str) -> bool:
    """BatchNorm's step counter: absent from files that were saved with frozen norms."""
    return key.endswith(".num_batches_tracked")


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
