"""The mean of several weight files: of runs that began from one another it is often better than each (Wortsman et al., "Model soups", ICML
2022)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from objremove.errors import ModelError, UsageError
from objremove.models.weight_file import write_halves
from objremove.segmentation.weights import State, read_state

_OF_THE_NETWORK = ("config", "recipe", "data")
"""What of the first file's metadata holds for the mean, too. Scores do not: the mean has to be judged anew."""


def average_files(files: Sequence[Path], out: Path, shares: Sequence[float]) -> None:
    """Write the mean of weight files as fp16 safetensors, with their SHA-256 and shares in its metadata.

    Args:
        files: two or more, of one network.
        out: the file to write.
        shares: the weight of each; they need not add up to 1.

    Raises:
        UsageError: one file only, or shares that do not fit.
        ModelError: a file cannot be read, or the files are of different networks.
    """
    if len(files) < 2:
        raise UsageError("a mean needs two files or more: name another")
    if len(shares) != len(files) or min(shares) < 0 or not sum(shares) > 0:
        raise UsageError(f"{len(files)} files need as many shares of 0 or more, one of them above 0: got {len(shares)}")
    parts = [share / sum(shares) for share in shares]
    mean: State = {}
    for file, part in zip(files, parts, strict=True):
        state = read_state(file)
        if mean and _shapes(mean) != _shapes(state):
            raise ModelError(f"{file} is of another network than {files[0]}: a mean needs weights of one")
        for key, value in state.items():
            if not value.is_floating_point():
                mean.setdefault(key, value)
            else:
                mean[key] = mean[key] + part * value if key in mean else part * value
    parents = [
        {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "share": round(part, 4)}
        for file, part in zip(files, parts, strict=True)
    ]
    write_halves(mean, out, {**_metadata(files[0]), "mean_of": json.dumps(parents)})


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items() if isinstance(value, Tensor)}


def _metadata(file: Path) -> dict[str, str]:
    try:
        with safe_open(file, "pt") as content:
            found: dict[str, str] = content.metadata() or {}
    except (SafetensorError, OSError):  # PyTorch's own files have none
        return {}
    return {key: value for key, value in found.items() if key in _OF_THE_NETWORK}
