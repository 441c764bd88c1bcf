"""How far a run is: by steps or by time, the same answer on every process."""

from __future__ import annotations

import math
import time
from typing import Literal

from objremove.training.agreement import Agreement


class Clock:
    """Progress (0..1) of a run that ends after `steps` optimiser steps or, if given, after `minutes`, whichever is first.

    Time is counted over all sittings of a resumed run. Without a time budget, progress depends on the step alone, and so does
    everything that follows from it (learning rate, crop size): such a run can be repeated bit for bit.

    Attributes:
        now: seconds since the run began, as agreed at the last `read`.
        interrupted: whether `stop` ended the run on one of the processes.
    """

    def __init__(self, agreement: Agreement, *, steps: int, minutes: float | None, seconds_before: float = 0.0) -> None:
        self._agreement, self._steps, self._minutes = agreement, steps, minutes
        self._before, self._started = seconds_before, time.monotonic()
        self._stop_wanted = self.interrupted = False
        self.now = seconds_before
        self.read()

    @property
    def seconds(self) -> float:
        """Seconds since the run began, over all sittings, by this process."""
        return self._before + time.monotonic() - self._started

    def stop(self) -> None:
        """Ask for an orderly end of all processes after the step in work."""
        self._stop_wanted = True

    def progress(self, step: int) -> float:
        """Share of the run that is over before `step`, the same on every process."""
        by_time = 0.0 if self._minutes is None else self.now / (60 * self._minutes)
        return min(1.0, max(step / self._steps, by_time))

    def is_over(self, step: int) -> bool:
        """Whether the run ends before `step`; every process must ask, at every step."""
        self.read()
        return self.interrupted or self.progress(step) >= 1

    def read(self) -> None:
        """Agree with the other processes on the time, and on whether one of them wants to stop."""
        self.now, stop = self._agreement.greatest(self.seconds, self._stop_wanted)
        self.interrupted = bool(stop)


def learning_rate(curve: Literal["constant", "cosine"], progress: float, step: int, warmup: int) -> float:
    """Factor of the configured learning rate: a linear rise over `warmup` steps, then constant or half a cosine down to 2 %."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    fall = 1.0 if curve == "constant" else 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
    return rise * fall
