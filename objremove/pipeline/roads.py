"""Where each photo in the pipeline is, and which of its windows wait to be filled."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from objremove.inpainting.fill import Filling, batches
from objremove.inpainting.windows import Window
from objremove.pipeline.jobs import Job
from objremove.work import Work


@dataclass(eq=False)
class Road:
    """A photo on its way through the crew.

    Attributes:
        number: its place among the jobs.
        job: the job.
        pixels: how many the photo has, as its file declares it; None until one has looked.
        work: what is being done, once the photo is open.
        waves: the waves of windows that have not begun.
        left: how many windows of the present wave are still to be pasted.
        failed: an error ended it; windows of it that are still about are dropped.
    """

    number: int
    job: Job
    pixels: int | None = None
    work: Work | None = None
    waves: Iterator[list[Window]] = field(default_factory=lambda: iter(()))
    left: int = 0
    failed: bool = False

    @property
    def filling(self) -> Filling:
        """Its windows, where it has any."""
        assert self.work is not None
        assert self.work.filling is not None
        return self.work.filling


Place = tuple[Road, Window]
"""A window of a photo."""


class Batches:
    """Windows that wait to be filled, in batches of one size each. It has no lock of its own.

    Args:
        shared: windows of different photos may share a batch.
    """

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        self._full: deque[list[Place]] = deque()
        self._partial: dict[tuple[int, int], list[Place]] = {}

    def __bool__(self) -> bool:
        return bool(self._full or self._partial)

    @property
    def has_full(self) -> bool:
        """Whether there is a batch that can grow no more."""
        return bool(self._full)

    def add(self, road: Road, wave: list[Window], most: int) -> None:
        """Lay out a wave of windows, of which a batch takes so many at most."""
        for batch in batches(wave, most):
            places = [(road, window) for window in batch]
            if self._shared:
                self._join(places, most)
            else:
                self._full.append(places)

    def _join(self, places: list[Place], most: int) -> None:
        """Put equal windows to those that wait."""
        size = places[0][1].size
        waiting = [*self._partial.pop(size, []), *places]
        while len(waiting) >= most:
            self._full.append(waiting[:most])
            waiting = waiting[most:]
        if waiting:
            self._partial[size] = waiting

    def take(self) -> list[Place]:
        """The next batch: a full one, else the fullest; there must be one."""
        if self._full:
            return self._full.popleft()
        return self._partial.pop(max(self._partial, key=lambda size: len(self._partial[size])))
