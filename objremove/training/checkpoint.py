"""Checkpoints: all that a run needs to go on as if it had never stopped."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric

from objremove.errors import ModelError
from objremove.training.recipe import Recipe

NAME = "last.ckpt"
GIVEN = "given"
"""Among the settings: what a run was given beside its configuration. Earlier versions did not write it down."""

BEGUN = "begun"
"""Among the settings: what a run began from. A later sitting need not name it again, but may not name another."""


def save_checkpoint(fabric: Fabric, folder: Path, recipe: Recipe, *, step: int, seconds: float, settings: str) -> None:
    """Write `folder`/last.ckpt, whole or not at all. Every process must call it."""
    path, unfinished = folder / NAME, folder / f".{NAME}.tmp"
    content = {**recipe.state(), "step": step, "seconds": seconds, "settings": settings, "random": _random_state()}
    fabric.save(unfinished, content)
    if fabric.is_global_zero:
        os.replace(unfinished, path)
    fabric.barrier()


def checkpoint_file(path: Path) -> Path:
    """The checkpoint that is named by itself or by its run's folder."""
    return path / NAME if path.is_dir() else path


def load_checkpoint(fabric: Fabric, path: Path, recipe: Recipe, *, settings: str) -> tuple[int, float, str]:
    """Put a checkpoint's state into the recipe and the random generators; returns its step, the seconds trained before and its settings.

    Raises:
        ModelError: there is none, it is damaged, or it belongs to a run with other networks.
    """
    path = checkpoint_file(path)
    if not path.is_file():
        raise ModelError(f"checkpoint {path} does not exist: name the folder of an earlier run")
    content: dict[str, Any] = {**recipe.state(), "step": 0, "seconds": 0.0, "settings": "", "random": {}}
    try:
        fabric.load(path, content)
    except Exception as error:  # whatever a garbled file or foreign keys raise
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"checkpoint {path} does not fit this run ({reason}): take its own configuration, or, where it was made by an earlier "
            "version, begin anew from its weights with --init"
        ) from None
    if differences := _differences(content["settings"], settings):
        raise ModelError(
            f"checkpoint {path} was made with other settings ({differences}): "
            "take its own configuration, or begin anew from its weights with --init"
        )
    _restore_random_state(content["random"])
    return int(content["step"]), float(content["seconds"]), str(content["settings"])


def _differences(before: str, now: str) -> str:
    """The settings, as JSON, that are not the same; an earlier version may not have known one."""
    old, new = (json.loads(settings or "{}") for settings in (before, now))
    if GIVEN not in old:
        new.pop(GIVEN, None)
    begun, named = old.pop(BEGUN, {}), new.pop(BEGUN, {})
    old[BEGUN], new[BEGUN] = ({key: each[key] for key in begun if named.get(key)} for each in (begun, named))
    old, new = dict(_flat(old)), dict(_flat(new))
    return "; ".join(
        f"{key} was {old.get(key, 'unknown')}, is {new.get(key, 'unknown')}"
        for key in sorted(old | new)
        if old.get(key, ...) != new.get(key, ...)
    )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _random_state() -> dict[str, Any]:
    """State of every global generator, in types that load without executing anything."""
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": ([int(key) for key in keys], int(position), int(has_gauss), float(cached)),
        "python": (version, internal, gauss),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _restore_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"].cpu())
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", np.array(keys, np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
