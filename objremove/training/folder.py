"""A run's folder: that no run destroys another one's unasked."""

from __future__ import annotations

from pathlib import Path

from objremove.errors import UsageError
from objremove.training.checkpoint import NAME, checkpoint_file
from objremove.training.records import PREVIEWS, SCALARS, TENSORBOARD

_OWN = (
    NAME,
    SCALARS,
    "generator.safetensors",
    "discriminator.safetensors",
    "segmenter.safetensors",
    f"{PREVIEWS}/[0-9]*.png",
    f"{TENSORBOARD}/events.out.tfevents.*",
)
"""Patterns of all that a run writes."""


def check_folder(folder: Path, *, resume: Path | None, overwrite: bool) -> None:
    """Whether a run may write into `folder`.

    Args:
        folder: for the run's files; need not exist.
        resume: the checkpoint that the run goes on from, or its folder.
        overwrite: whether an earlier run there is given up.

    Raises:
        UsageError: files of an earlier run are there, and it is neither resumed nor given up, or both.
    """
    checkpoint = folder / NAME
    earlier = next((file for pattern in _OWN for file in folder.glob(pattern)), None)
    if earlier is None:
        return
    goes_on = resume is not None and checkpoint_file(resume).resolve() == checkpoint.resolve()
    if goes_on and overwrite:
        raise UsageError(f"--overwrite would remove {checkpoint}, which --resume goes on from: leave one of them out")
    if not (goes_on or overwrite):
        go_on = f"go on with --resume {folder}, " if earlier == checkpoint else ""
        raise UsageError(f"{earlier} is an earlier run's: {go_on}replace it with --overwrite, or name another --out")


def clear_folder(folder: Path) -> None:
    """Remove what an earlier run wrote into `folder`, and nothing else."""
    for pattern in _OWN:
        for file in folder.glob(pattern):
            file.unlink()
