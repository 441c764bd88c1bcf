"""Many photos through one `Remover`: decoding, finding, filling and encoding overlap, and memory stays flat.

    for outcome in pipeline.run(remover, jobs, finish=save):
        ...

A few workers share all the work there is. Whoever is free takes the step that lies nearest to the end of a photo's road: finish a
filled photo, else fill a full batch of equal windows (of whatever photos), else open the next photo and find what goes, else fill a
batch that is not full. So the processors stay busy whatever stage is the slow one, and batches fill up by themselves. A photo is
in work from when its job is read until its outcome is taken, and so many photos are in work at most: nothing piles up.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

from objremove.errors import UsageError
from objremove.inpainting.fill import Filling, View, ask, batches
from objremove.inpainting.windows import Window
from objremove.photo import Photo
from objremove.remover import PhotoLike, Remover
from objremove.request import Request
from objremove.result import Result
from objremove.work import Work

T = TypeVar("T")
Step = Callable[[], None]

MOST_PIXELS = 200_000_000
"""A photo is opened when it and those in work have no more pixels than this altogether: about 2 GB. One photo is always opened."""


@dataclass(frozen=True, eq=False)
class Job:
    """One photo to work on.

    Attributes:
        key: whatever the caller knows the photo by.
        photo: see `PhotoLike`; a path is read when its turn comes.
        request: what shall go.
    """

    key: Any
    photo: PhotoLike
    request: Request


@dataclass(frozen=True, eq=False)
class Outcome(Generic[T]):
    """What became of a job: a result, or an error.

    Attributes:
        job: the job.
        result: what `Remover` makes of it; None where that failed.
        value: what `finish` returned; None without it, or where anything failed.
        error: what went wrong with this photo, in whatever step; None where all went well.
    """

    job: Job
    result: Result | None = None
    value: T | None = None
    error: Exception | None = None

    @property
    def failure(self) -> Exception:
        """The error, where there must be one."""
        if self.error is None:
            raise ValueError("the job went well")
        return self.error


def run(
    remover: Remover,
    jobs: Iterable[Job],
    finish: Callable[[Job, Result], T] | None = None,
    *,
    workers: int | None = None,
    ahead: int | None = None,
    ordered: bool = False,
    share_batches: bool = True,
) -> Iterator[Outcome[T]]:
    """Work on many photos at a time; one outcome for each job.

    Every result is what `remover` gives for that photo alone, bit for bit, with one exception: a network may round differently
    in batches of another size (LaMa by less than 1e-6 in fp32, 1e-4 in bf16, so now and then a pixel of a hole differs by one level).

    An `Exception` in any step of a photo ends up in that photo's outcome and touches no other. Closing the iterator, or an exception in
    the loop that reads it (KeyboardInterrupt, too), drops what is in work: steps that have begun are finished, none begins.

    While it runs, each worker's torch and OpenCV have their share of the processor's threads; afterwards they have what they had.

    Args:
        remover: loads its models once, whatever the number of workers.
        jobs: read in the thread that iterates over the outcomes, as far ahead as `ahead` says.
        finish: called with each job and its result, in a worker's thread: the place to encode and write.
        workers: threads that work; None: one for each processor core, or for each of the remover's `threads`. More than those are well
            where photos come over a network. There are never more than jobs, nor than `ahead`.
        ahead: how many photos are in work at most; None: twice the workers, and as many more as a batch has windows.
        ordered: outcomes come in the order of the jobs; else as photos are done.
        share_batches: equal windows of different photos may share a batch. Without it every result is the same in every run,
            bit for bit, with every inpainter.

    Raises:
        UsageError: `workers` or `ahead` below 1; the device is not there.
    """
    if (workers is not None and workers < 1) or (ahead is not None and ahead < 1):
        raise UsageError("workers and ahead: take 1 or more")
    _ = remover.shelf.device  # before any worker: it sets the threads of whoever asks first
    return _outcomes(remover, jobs, finish, workers, ahead, ordered, share_batches)


def _outcomes(
    remover: Remover,
    jobs: Iterable[Job],
    finish: Callable[[Job, Result], T] | None,
    workers: int | None,
    ahead: int | None,
    ordered: bool,
    share_batches: bool,
) -> Iterator[Outcome[T]]:
    threads = remover.threads or cores()
    source = enumerate(jobs)
    wanted = workers or threads
    first = list(islice(source, min(wanted, ahead or wanted)))
    if not first:
        return
    count = len(first)
    most = ahead or 2 * count + (remover.inpainter().batch_size if share_batches else 0)
    crew: _Crew[T] = _Crew(remover, finish, share_batches=share_batches)
    with _at_work(crew, count, max(1, threads // count)):
        crew.add(first)
        read, taken, ended = len(first), 0, False
        waiting: dict[int, Outcome[T]] = {}
        while True:
            while not ended and read - taken < most:
                more = next(source, None)
                if more is None:
                    ended = True
                else:
                    crew.add([more])
                    read += 1
                if crew.done:
                    break
            if taken == read:
                return
            number = crew.take(waiting)
            while (following := taken if ordered else number) in waiting:
                yield waiting.pop(following)
                crew.release(following)
                taken += 1


@contextmanager
def _at_work(crew: _Crew[Any], count: int, threads: int) -> Iterator[None]:
    """Meanwhile `count` workers, each with so many threads for torch and OpenCV, take steps of the crew."""
    import cv2
    import torch

    def work() -> None:
        torch.set_num_threads(threads)  # OpenMP keeps this number for each thread
        crew.work()

    before = torch.get_num_threads(), cv2.getNumThreads()
    workers = [threading.Thread(target=work, name=f"objremove-{number}", daemon=True) for number in range(count)]
    cv2.setNumThreads(threads)
    try:
        for worker in workers:
            worker.start()
        yield
    finally:
        crew.close()
        for worker in workers:
            worker.join()
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(eq=False)
class _Road:
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
        assert self.work is not None
        assert self.work.filling is not None
        return self.work.filling


Place = tuple[_Road, Window]
"""A window of a photo."""


class _Crew(Generic[T]):
    """What there is to do, and what is done; its workers take one step after another. All state is guarded by one lock."""

    def __init__(self, remover: Remover, finish: Callable[[Job, Result], T] | None, *, share_batches: bool) -> None:
        self.done: deque[tuple[int, Outcome[T]]] = deque()
        self._remover, self._finish, self._share = remover, finish, share_batches
        self._changed = threading.Condition()
        self._closed = False
        self._broken: BaseException | None = None
        self._unmeasured: deque[_Road] = deque()
        self._unopened: deque[_Road] = deque()
        self._full: deque[list[Place]] = deque()
        self._partial: dict[tuple[int, int], list[Place]] = {}
        self._filled: deque[_Road] = deque()
        self._pixels: dict[int, int] = {}

    # ------------------------------------------------------------------ the reader's side

    def add(self, jobs: Iterable[tuple[int, Job]]) -> None:
        """Jobs to do."""
        roads = [_Road(number, job) for number, job in jobs]
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
        return bool(self._filled or self._full or self._partial or self._may_open() or self._unmeasured)

    def _may_open(self) -> bool:
        """Whether there is room for the next photo. None overtakes it: where outcomes are ordered, that one might wait for ever."""
        pixels = self._unopened[0].pixels if self._unopened else None
        return pixels is not None and (not self._pixels or sum(self._pixels.values()) + pixels <= MOST_PIXELS)

    def _next(self) -> Step:
        """The step that lies nearest to the end of the road."""
        if self._filled:
            road = self._filled.popleft()
            return lambda: self._end(road)
        if self._full:
            places = self._full.popleft()
            return lambda: self._fill(places)
        if self._may_open():
            road = self._unopened.popleft()
            self._pixels[road.number] = road.pixels or 0
            return lambda: self._open(road)
        if self._unmeasured:
            road = self._unmeasured.popleft()
            return lambda: self._measure(road)
        size = max(self._partial, key=lambda size: len(self._partial[size]))
        places = self._partial.pop(size)
        return lambda: self._fill(places)

    def _measure(self, road: _Road) -> None:
        try:
            pixels = Photo.declared_pixels(road.job.photo)
        except Exception:
            pixels = 0  # it cannot be opened: `_open` says why
        with self._changed:
            road.pixels = pixels
            self._changed.notify_all()

    def _open(self, road: _Road) -> None:
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

    def _begin_wave(self, road: _Road) -> None:
        """Lay out the windows of the next wave, or, where there is none, the photo to be finished; under the lock."""
        wave = next(road.waves, None)
        if wave is None:
            self._filled.append(road)
        else:
            road.left = len(wave)
            for batch in batches(wave, self._remover.inpainter().batch_size):
                self._lay_out([(road, window) for window in batch])
        self._changed.notify_all()

    def _lay_out(self, places: list[Place]) -> None:
        if not self._share:
            self._full.append(places)
            return
        size, most = places[0][1].size, self._remover.inpainter().batch_size
        waiting = [*self._partial.pop(size, []), *places]
        while len(waiting) >= most:
            self._full.append(waiting[:most])
            waiting = waiting[most:]
        if waiting:
            self._partial[size] = waiting

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

    def _paste(self, road: _Road, view: View, answer: Any) -> None:
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

    def _end(self, road: _Road) -> None:
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

    def _fail(self, road: _Road, error: Exception, result: Result | None = None) -> None:
        with self._changed:
            if road.failed:
                return
            road.failed = True
        self._tell(road, Outcome(road.job, result, error=error))

    def _tell(self, road: _Road, outcome: Outcome[T]) -> None:
        with self._changed:
            self.done.append((road.number, outcome))
            self._changed.notify_all()
