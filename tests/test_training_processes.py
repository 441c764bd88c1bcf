"""Two processes of `torchrun` on a CPU: the same weights on both, resumed and stopped together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("lightning")

from objremove.training.checkpoint import NAME

# What each process does. Three steps; on from there until the second one alone is told to end; and one that finds no more data.
SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
from objremove.errors import ModelError
from objremove.training.config import InpainterConfig, load_config
from objremove.training.files import read_records
from objremove.training.inpainter import InpainterRecipe
from objremove.training.library import PhotoLibrary
from objremove.training.loop import make_fabric, train

photos, folder, rank = Path(sys.argv[1]), Path(sys.argv[2]), int(os.environ["RANK"])
SETTINGS = [
    "loop.batch=2", "loop.sizes=[[0, 32]]", "loop.precision='32-true'", "loop.warmup=0", "loop.log_every=3",
    "generator.ngf=8", "generator.n_blocks=1", "losses.perceptual=0", "masks.shapes=0",
]


class Quiet:
    def step(self, *_): pass
    def say(self, text): pass
    warn = say


class Recipe(InpainterRecipe):
    last, lost = 0, False

    def step(self, photos, targets, step, learning_rate):
        if rank == 1 and step + 1 == self.last:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().step(photos, targets, step, learning_rate)

    def sample(self, rng, size):
        if rank == 1 and self.lost:
            raise RuntimeError("no more photos here")
        return super().sample(rng, size)


def sitting(steps, last=0, lost=False, **options):
    config = load_config(InpainterConfig, "lama-compact", [*SETTINGS, f"loop.steps={steps}"])
    recipe = Recipe(fabric, config, library, library, backbones=[])
    recipe.last, recipe.lost = last, lost
    outcome = train(fabric, recipe, config, out=folder / "run", reporter=Quiet(), metadata={}, minutes=10, **options)
    return recipe, outcome


fabric = make_fabric("cpu", "32-true")
fabric.seed_everything(0, verbose=False)
library = PhotoLibrary(read_records([photos]))
first, begun = sitting(3)
second, ended = sitting(1_000_000, last=7, resume=folder / "run")
try:
    sitting(1_000_000, lost=True, resume=folder / "run")
    failure = "none"
except RuntimeError as error:
    failure = str(error)
torch.save(
    {
        "first": list(first.state()["generator"].parameters()), "second": list(second.state()["generator"].parameters()),
        "steps": [begun.step, ended.step], "interrupted": [begun.interrupted, ended.interrupted], "failure": failure,
    },
    folder / f"{rank}.pt",
)
"""


def test_two_processes_train_resume_and_stop_as_one(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(6):
        photo = np.random.default_rng(index).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        cv2.imwrite(str(photos / f"{index}.png"), cv2.GaussianBlur(photo, (0, 0), 3))
    script = tmp_path / "sittings.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, script, photos, tmp_path], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name in ("first", "second"):
        assert all(torch.equal(a, b) for a, b in zip(one[name], other[name], strict=True))
    assert not torch.equal(one["first"][0], one["second"][0])
    assert one["steps"] == other["steps"] == [3, 7], (
        "at the step after which one of them was told to, and not at some tenth"
    )
    assert one["interrupted"] == other["interrupted"] == [False, True]
    assert (one["failure"], other["failure"]) == ("none", "no more photos here"), (
        "nobody waits for the one without data"
    )
    kept = torch.load(tmp_path / "run" / NAME, weights_only=True)
    assert kept["step"] == 7
    assert '"processes": 2' in kept["settings"]
    assert (tmp_path / "run" / "generator.safetensors").is_file()
