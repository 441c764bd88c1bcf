"""How far a run is: by steps or by time, the same answer on every process."""

from __future__ import annotations

import math
import time
from typing import Literal

from lightning.fabric import Fabric

_SYNC_STEPS = 10


class Clock:
    """Progress (0..1) of a run that ends after `steps` optimiser steps or, if given, after `minutes`, whichever is first.

    Time is counted over all sittings of a resumed run. Without a time budget, progress depends on the step alone, and so does
    everything that follows from it (learning rate, crop size): such a run can be repeated bit for bit.
    """

    def __init__(self, fabric: Fabric, *, steps: int, minutes: float | None, seconds_before: float = 0.0) -> None:
        self._fabric, self._steps, self._minutes = fabric, steps, minutes
        self._before, self._started = seconds_before, time.monotonic()
        self._by_time = 0.0
        self._stop_wanted = False
        self._stopped = False

    @property
    def seconds(self) -> float:
        """Seconds since the run began, over all sittings."""
        return self._before + time.monotonic() - self._started

    def stop(self) -> None:
        """Ask for an orderly end after the step in work."""
        self._stop_wanted = True

    def progress(self, step: int) -> float:
        """Share of the run that is over before `step`."""
        return min(1.0, max(step / self._steps, self._by_time))

    def is_over(self, step: int) -> bool:
        """Whether the run ends before `step`; every process must ask, at every step: now and then they agree on the time here."""
        if self._fabric.world_size == 1:
            self._read()
        elif step % _SYNC_STEPS == 0:
            self._read()
            self._by_time, self._stopped = self._fabric.broadcast((self._by_time, self._stopped))
        return self._stopped or self.progress(step) >= 1

    @property
    def interrupted(self) -> bool:
        """Whether `stop` ended the run."""
        return self._stopped

    def _read(self) -> None:
        self._stopped = self._stop_wanted
        if self._minutes is not None:
            self._by_time = self.seconds / (60 * self._minutes)


def learning_rate(curve: Literal["constant", "cosine"], progress: float, step: int, warmup: int) -> float:
    """Factor of the configured learning rate: a linear rise over `warmup` steps, then constant or half a cosine down to 2 %."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    fall = 1.0 if curve == "constant" else 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
    return rise * fall
