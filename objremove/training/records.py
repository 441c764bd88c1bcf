"""What a run leaves behind for people: scalars as JSON lines, preview pictures as PNG, and both in TensorBoard where that is installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Records:
    """Writes scalars.jsonl, previews/ and tensorboard/ under `folder`.

    Args:
        folder: the run's folder.
        enabled: false on all but the first process: nothing is written.
        purge_step: where a resumed run goes on; TensorBoard hides what an interrupted sitting wrote beyond it. None begins anew.
    """

    def __init__(self, folder: Path, *, enabled: bool, purge_step: int | None = None) -> None:
        self._enabled = enabled
        self._writer: SummaryWriter | None = None
        if not enabled:
            return
        self._previews = folder / "previews"
        self._previews.mkdir(exist_ok=True)
        self._lines = (folder / "scalars.jsonl").open("w" if purge_step is None else "a", encoding="utf-8")
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=purge_step)

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
