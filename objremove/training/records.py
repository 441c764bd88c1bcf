"""What a run leaves behind for people: scalars as JSON lines, preview pictures as PNG, and both in TensorBoard where that is installed."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SCALARS, PREVIEWS, TENSORBOARD = "scalars.jsonl", "previews", "tensorboard"


class Records:
    """Writes scalars.jsonl, previews/ and tensorboard/ under `folder`.

    Args:
        folder: the run's folder.
        enabled: false on all but the first process: nothing is written.
        resumed: the step that a resumed run has done; what an interrupted sitting wrote beyond it goes. None begins anew.
    """

    def __init__(self, folder: Path, *, enabled: bool, resumed: int | None = None) -> None:
        self._enabled = enabled
        self._writer: SummaryWriter | None = None
        if not enabled:
            return
        self._previews = folder / PREVIEWS
        self._previews.mkdir(exist_ok=True)
        scalars = folder / SCALARS
        kept = _lines_up_to(scalars, resumed) if resumed is not None and scalars.exists() else []
        unfinished = folder / f".{SCALARS}.tmp"
        unfinished.write_text("".join(kept), encoding="utf-8")
        os.replace(unfinished, scalars)
        self._lines = scalars.open("a", encoding="utf-8")
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            # TensorBoard hides what older files say of this step and later ones.
            self._writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=None if resumed is None else resumed + 1)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Record numbers by name."""
        if not self._enabled or not values:
            return
        print(
            json.dumps({"step": step, **{name: float(f"{value:.6g}") for name, value in values.items()}}),
            file=self._lines,
        )
        self._lines.flush()
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def picture(self, picture: NDArray[np.uint8] | None, step: int) -> None:
        """Record an (H, W, 3) RGB picture; None is no picture."""
        if not self._enabled or picture is None:
            return
        cv2.imwrite(str(self._previews / f"{step:07d}.png"), picture[..., ::-1])
        if self._writer is not None:
            self._writer.add_image("preview", picture, step, dataformats="HWC")

    def close(self) -> None:
        """Finish the files."""
        if self._enabled:
            self._lines.close()
        if self._writer is not None:
            self._writer.close()


def _lines_up_to(scalars: Path, step: int) -> list[str]:
    """Its whole lines of steps up to `step`; a killed run may have left half a line."""
    kept = []
    for line in scalars.read_text("utf-8", "replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(f"{line}\n")
        except ValueError:
            continue
    return kept
