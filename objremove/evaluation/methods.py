"""The inpainters that are judged side by side, each behind a `Remover` of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from objremove import models
from objremove.errors import UsageError
from objremove.remover import Remover


def load_methods(inpainters: Sequence[str], segmenter: str = "auto", **options: Any) -> dict[str, Remover]:
    """A ready `Remover` for each inpainter, by a short name; `options` are those of `Remover`.

    Raises:
        UsageError: one is named twice, or is unknown; ModelError: its weights cannot be had.
    """
    methods = {}
    for label, name in zip(short_names(inpainters), inpainters, strict=True):
        remover = Remover(segmenter, name, refine_masks=False, **options)
        remover.prepare()
        methods[label] = remover
    return methods


def short_names(inpainters: Sequence[str]) -> list[str]:
    """Names of the registry and of plug-ins as they are, files by their folder and stem; as they were given where that is ambiguous.

    Raises:
        UsageError: one is named twice.
    """
    if len(set(inpainters)) < len(inpainters):
        raise UsageError(f"an inpainter is named twice in {', '.join(inpainters)}: name each once")
    short = [
        "/".join(Path(name).with_suffix("").parts[-2:]) if name not in models.REGISTRY and Path(name).exists() else name
        for name in inpainters
    ]
    return short if len(set(short)) == len(short) else list(inpainters)


def describe(methods: Mapping[str, Remover]) -> str:
    """Every method, with what `auto` has chosen, and the beginning of its weight file's SHA-256 where it has one."""
    told = []
    for name, remover in methods.items():
        chosen, digest = remover.shelf.identity(remover.shelf.inpainter())
        told.append(_identified(f"auto = {chosen}" if name == "auto" else name, digest))
    return ", ".join(told)


def describe_segmenter(remover: Remover) -> str:
    """The segmenter that `all` asks, likewise; what `auto` has chosen by its own name."""
    return _identified(*remover.shelf.identity(remover.shelf.segmenter()))


def _identified(name: str, digest: str | None) -> str:
    return f"{name} (sha256 {digest[:16]})" if digest else name
