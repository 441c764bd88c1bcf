"""Filling: windows, inpainters and what brings them together.

`load` makes an `Inpainter`; `objremove.inpainting.fill.fill_hole` runs one over a photo's hole.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from objremove import models, plugins
from objremove.errors import UsageError
from objremove.inpainting.base import Inpainter

if TYPE_CHECKING:
    import torch

__all__ = ["Inpainter", "load"]


def load(
    name_or_path: str | os.PathLike[str],
    *,
    device: torch.device,
    dtype: torch.dtype,
    seed: int = 0,
    offline: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Inpainter:
    """The inpainter of that name, or the LaMa of the weight file or official folder at that path.

    Args:
        name_or_path: a name of the registry or of a plug-in, or a path.
        device: where networks run; classical inpainters always run on the CPU.
        dtype: of a network's weights and convolutions.
        seed: for inpainters that draw random numbers.
        offline: never download, say how to get the file instead.
        progress: called with (bytes received, bytes in all) while a file is downloaded.

    Raises:
        UsageError: no such model, plug-in or path, or it is no inpainter.
        ModelError: the weights are missing, damaged, not the published ones, or no LaMa.
    """
    name = os.fspath(name_or_path)
    if name not in models.REGISTRY:
        if name in plugins.names(plugins.INPAINTERS):
            return plugins.load(plugins.INPAINTERS, name, Inpainter, device=device, dtype=dtype)
        if Path(name).exists():
            return _lama(Path(name), name, device, dtype)
    model = models.get(name)
    if model.kind != "inpainter":
        raise UsageError(
            f"model {name!r} is no inpainter, its kind is {model.kind}: take one of {', '.join(models.names('inpainter'))}"
        )
    if not model.needs_file:
        from objremove.inpainting.classical import load_classical

        return load_classical(name, seed=seed)
    return _lama(models.fetch(name, progress=progress, offline=offline), name, device, dtype)


def _lama(path: Path, name: str, device: torch.device, dtype: torch.dtype) -> Inpainter:
    from objremove.inpainting.lama.inpainter import LamaInpainter

    return LamaInpainter(path, name=name, device=device, dtype=dtype)
