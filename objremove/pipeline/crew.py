"""`Crew`: what there is to do, which step is the next, and what is done."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic

from objremove.inpainting.fill import View, ask
from objremove.photo import Photo
from objremove.pipeline.jobs import Job, Outcome, T
from objremove.pipeline.roads import Batches, Place, Road
from objremove.remover import Remover
from objremove.result import Result

Step = Callable[[], None]

MOST_PIXELS = 200_000_000
"""A photo is opened when it and those in work have no more pixels than this altogether: about 2 GB. One photo is always opened."""


class Crew(Generic[T]):
    """What there is to do, and what is done; its workers take one step after another. All state is guarded by one lock.

    Args:
        remover, finish, share_batches: see `objremove.pipeline.run`.

    Attributes:
        done: outcomes that nobody has taken yet, each with the number of its job.
    """

    def __init__(self, remover: Remover, finish: Callable[[Job, Result], T] | None, *, share_batches: bool) -> None:
        self.done: deque[tuple[int, Outcome[T]]] = deque()
        self._remover, self._finish = remover, finish
        self._changed = threading.Condition()
        self._closed = False
        self._broken: BaseException | None = None
        self._unmeasured: deque[Road] = deque()
        self._unopened: deque[Road] = deque()
        self._batches = Batches(shared=share_batches)
        self._filled: deque[Road] = deque()
        self._pixels: dict[int, int] = {}

    # ------------------------------------------------------------------ the reader's side

    def add(self, jobs: Iterable[tuple[int, Job]]) -> None:
        """Jobs to do."""
        roads = [Road(number, job) for number, job in jobs]
        with self._changed:
            self._unmeasured.extend(roads)
            self._unopened.extend(roads)
            self._changed.notify_all()

    def take(self, waiting: dict[int, Outcome[T]]) -> int:
        """Wait for the next outcome, put it into `waiting` under its job's number, and answer that."""
        with self._changed:
            self._changed.wait_for(lambda: self.done or self._broken)
            if self._broken is not None:
                raise self._broken
            number, outcome = self.done.popleft()
            waiting[number] = outcome
            return number

    def release(self, number: int) -> None:
        """The photo needs no more room: it could not be opened, or the reader has done with its outcome."""
        with self._changed:
            self._pixels.pop(number, None)
            self._changed.notify_all()

    def close(self) -> None:
        """No step begins from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # ------------------------------------------------------------------ the workers' side

    def work(self) -> None:
        """Take steps until closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._is_work())
                if self._closed:
                    return
                step = self._next()
            try:
                step()
            except BaseException as error:  # what is no photo's failure is the reader's: it must not wait for ever
                with self._changed:
                    self._broken = error
                    self._changed.notify_all()
                return

    def _is_work(self) -> bool:
        return bool(self._filled or self._batches or self._may_open() or self._unmeasured)

    def _may_open(self) -> bool:
        """Whether there is room for the next photo. None overtakes it: where outcomes are ordered, that one might wait for ever."""
        pixels = self._unopened[0].pixels if self._unopened else None
        return pixels is not None and (not self._pixels or sum(self._pixels.values()) + pixels <= MOST_PIXELS)

    def _next(self) -> Step:
        """The step that lies nearest to the end of the road."""
        if self._filled:
            road = self._filled.popleft()
            return lambda: self._end(road)
        if self._batches.has_full:
            return self._filling()
        if self._may_open():
            road = self._unopened.popleft()
            self._pixels[road.number] = road.pixels or 0
            return lambda: self._open(road)
        if self._unmeasured:
            road = self._unmeasured.popleft()
            return lambda: self._measure(road)
        return self._filling()

    def _filling(self) -> Step:
        places = self._batches.take()
        return lambda: self._fill(places)

    # ------------------------------------------------------------------ the steps

    def _measure(self, road: Road) -> None:
        try:
            pixels = Photo.declared_pixels(road.job.photo)
        except Exception:
            pixels = 0  # it cannot be opened: `_open` says why
        with self._changed:
            road.pixels = pixels
            self._changed.notify_all()

    def _open(self, road: Road) -> None:
        try:
            work = self._remover.start(road.job.photo, road.job.request)
        except Exception as error:
            self.release(road.number)
            self._fail(road, error)
            return
        with self._changed:
            road.work = work
            road.waves = iter(()) if work.filling is None else work.filling.waves()
            self._begin_wave(road)

    def _begin_wave(self, road: Road) -> None:
        """Lay out the windows of the next wave, or, where there is none, the photo to be finished; under the lock."""
        wave = next(road.waves, None)
        if wave is None:
            self._filled.append(road)
        else:
            road.left = len(wave)
            self._batches.add(road, wave, self._remover.inpainter().batch_size)
        self._changed.notify_all()

    def _fill(self, places: Sequence[Place]) -> None:
        """Fill equal windows; where a batch of several fails, each is tried alone, so that only the guilty photo fails."""
        places = [(road, window) for road, window in places if not road.failed]
        started = time.perf_counter()
        try:
            views = [road.filling.view(window) for road, window in places]
            answers = ask(views, self._remover.inpainter()) if views else ()
        except Exception as error:
            for place in places if len(places) > 1 else ():
                self._fill([place])
            if len(places) == 1:
                self._fail(places[0][0], error)
            return
        for (road, _), view, answer in zip(places, views, answers, strict=True):
            self._paste(road, view, answer)
        self._count(places, time.perf_counter() - started)

    def _paste(self, road: Road, view: View, answer: Any) -> None:
        try:
            view.paste(answer)
        except Exception as error:
            self._fail(road, error)

    def _count(self, places: Sequence[Place], seconds: float) -> None:
        """These windows are pasted; each photo bears its share of the seconds."""
        with self._changed:
            for road, _ in places:
                if road.failed or road.work is None:
                    continue
                road.work.steps.clock.seconds["fill"] += seconds / len(places)
                road.left -= 1
                if not road.left:
                    self._begin_wave(road)

    def _end(self, road: Road) -> None:
        assert road.work is not None
        result, value = None, None
        try:
            result = self._remover.finish(road.work)
            if self._finish is not None:
                with road.work.steps.clock.stage("finish"):
                    value = self._finish(road.job, result)
        except Exception as error:
            self._fail(road, error, result)
        else:
            self._tell(road, Outcome(road.job, result, value))

    def _fail(self, road: Road, error: Exception, result: Result | None = None) -> None:
        with self._changed:
            if road.failed:
                return
            road.failed = True
        self._tell(road, Outcome(road.job, result, error=error))

    def _tell(self, road: Road, outcome: Outcome[T]) -> None:
        with self._changed:
            self.done.append((road.number, outcome))
            self._changed.notify_all()
