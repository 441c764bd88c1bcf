"""Finding: class names, points and boxes in, instances out.

`load` makes a `Segmenter` (class names), `load_prompter` a `Prompter` (points, boxes, sharper outlines). Third parties add
segmenters with an entry point in the group `objremove.segmenters` (see `objremove.plugins`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from objremove import models, plugins
from objremove.errors import ModelError, UsageError
from objremove.segmentation.base import Prompter, SecondLook, Segmenter

if TYPE_CHECKING:
    import torch

__all__ = ["Prompter", "SecondLook", "Segmenter", "load", "load_prompter"]

Progress = Callable[[int, int], None]


def load(
    name_or_path: str | os.PathLike[str],
    *,
    device: torch.device,
    dtype: torch.dtype,
    offline: bool = False,
    progress: Progress | None = None,
) -> Segmenter:
    """The segmenter of that name, or of the weight file at that path (its architecture is told by its keys).

    Args:
        name_or_path: a name of the registry or of a plug-in, or a file.
        device: where it runs.
        dtype: of the convolutions: float32, or bfloat16 (through autocast).
        offline: never download, say how to get the file instead.
        progress: called with (bytes received, bytes in all) while a file is downloaded.

    Raises:
        UsageError: no such model, plug-in or file, or it is no segmenter.
        ModelError: the weights are missing, damaged, not the published ones, or of no known architecture.
    """
    name = os.fspath(name_or_path)
    if name not in models.REGISTRY and name in plugins.names(plugins.SEGMENTERS):
        return plugins.load(plugins.SEGMENTERS, name, Segmenter, device=device, dtype=dtype)
    path = _weights(name, "segmenter", offline=offline, progress=progress)

    from objremove.segmentation.architectures import ARCHITECTURES, network_in, renamed, without_auxiliary
    from objremove.segmentation.instance import InstanceSegmenter, settle_scales
    from objremove.segmentation.semantic import SemanticSegmenter
    from objremove.segmentation.weights import fold_batch_norm, read_state

    state = renamed(without_auxiliary(read_state(path)))
    found = network_in(state, path, name if name in models.REGISTRY else None)
    if found is None:
        raise ModelError(
            f"{path} holds weights of no known segmenter, or of other classes than VOC's or COCO's: known are {', '.join(ARCHITECTURES)}"
        )
    architecture, network = found
    chosen = ARCHITECTURES[architecture]
    network = fold_batch_norm(network)
    if chosen.boxes:
        settle_scales(network)
        return InstanceSegmenter(network, architecture, chosen, device=device, dtype=dtype)
    return SemanticSegmenter(network, architecture, chosen, device=device, dtype=dtype)


def load_prompter(
    name_or_path: str | os.PathLike[str] = "grabcut",
    *,
    device: torch.device,
    dtype: torch.dtype,
    offline: bool = False,
    progress: Progress | None = None,
) -> Prompter:
    """The prompter of that name: `grabcut` (no weights), `sam_vit_b`, `sam_vit_l`, `sam_vit_h`, or a SAM file at that path.

    Arguments and errors as those of `load`; SAM without the extra `sam` is a ModelError too.
    """
    name = os.fspath(name_or_path)
    if name == "grabcut":
        from objremove.segmentation.grabcut import GrabCutPrompter

        return GrabCutPrompter()
    from objremove.segmentation.sam import load_sam, require_package

    require_package()
    return load_sam(_weights(name, "prompter", offline=offline, progress=progress), device=device, dtype=dtype)


def _weights(name: str, kind: models.Kind, *, offline: bool, progress: Progress | None) -> Path:
    """The verified file of a model of that kind, or the user's own file."""
    if name not in models.REGISTRY and Path(name).is_file():
        return Path(name)
    try:
        model = models.get(name)
    except UsageError as error:
        added = ", ".join(plugins.names(plugins.SEGMENTERS)) if kind == "segmenter" else ""
        raise UsageError(f"{error}; added by plug-ins: {added}" if added else str(error)) from None
    if model.kind != kind:
        raise UsageError(
            f"model {name!r} is no {kind}, its kind is {model.kind}: take one of {', '.join(models.names(kind))}"
        )
    return models.fetch(name, progress=progress, offline=offline)
