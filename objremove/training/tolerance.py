"""Single photos that cannot be read end no run of days: others are drawn in their place, as long as they are few."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import numpy as np

from objremove.errors import PhotoError
from objremove.training.stream import MakeSample, Sample

_LEAST_LOST, _MOST_LOST_SHARE = 100, 0.01


class Tolerance:
    """Makes samples, drawing on from the same generator where a photo cannot be read. Thread-safe.

    Args:
        make_sample: makes a sample from a random generator alone.
        warn: hears once of each photo that cannot be read.
    """

    def __init__(self, make_sample: MakeSample, warn: Callable[[str], None]) -> None:
        self._make_sample, self._warn = make_sample, warn
        self._lock, self._drawn, self._lost = Lock(), 0, 0
        self._told = set[str]()

    def __call__(self, rng: np.random.Generator, size: int) -> Sample:
        """See `MakeSample`.

        Raises:
            PhotoError: a hundred draws were lost, and more than 1 % of all.
        """
        while True:
            try:
                sample = self._make_sample(rng, size)
            except PhotoError as error:
                self._count_lost(str(error))
            else:
                with self._lock:
                    self._drawn += 1
                return sample

    def _count_lost(self, reason: str) -> None:
        with self._lock:
            self._drawn, self._lost = self._drawn + 1, self._lost + 1
            if self._lost >= _LEAST_LOST and self._lost > _MOST_LOST_SHARE * self._drawn:
                raise PhotoError(f"{self._lost} of {self._drawn} photos drawn cannot be used, at last: {reason}")
            new = reason not in self._told
            self._told.add(reason)
        if new:
            self._warn(f"left out: {reason}")
