"""What the loop needs to know of a task; the inpainter and the segmenter implement it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from objremove.training.stream import Sample

Scalars = Mapping[str, Tensor]


class Recipe(Protocol):
    """One task: networks, optimisers, losses, and how they are judged."""

    @property
    def file_name(self) -> str:
        """Name of the exported weight file."""
        ...

    def sample(self, rng: np.random.Generator, size: int) -> Sample:
        """A training sample of `size` x `size` pixels, a function of `rng` alone. Called from several threads."""
        ...

    def step(self, photos: Tensor, targets: Tensor, step: int, learning_rate: float) -> Scalars:
        """One optimiser step on (B, H, W, 3) and (B, H, W) uint8 tensors on the device; `learning_rate` is a factor of the configured."""
        ...

    def state(self) -> dict[str, Any]:
        """Modules and optimisers that a checkpoint holds, by name."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Scores of the averaged weights on the validation photos; empty where there are none."""
        ...

    def preview(self) -> NDArray[np.uint8] | None:
        """A grid of examples made with the averaged weights, (H, W, 3) RGB; None without validation photos."""
        ...

    def export(self, folder: Path, metadata: Mapping[str, str]) -> None:
        """Write what ships: the averaged weights as fp16 safetensors, whole or not at all."""
        ...
