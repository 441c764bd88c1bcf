"""`run`: the workers of a pipeline, and the thread that feeds them and reads the outcomes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from numbers import Integral
from typing import Any

from objremove.arguments import check
from objremove.forks import renew_in_children
from objremove.pipeline.crew import Crew
from objremove.pipeline.jobs import Job, Outcome, T
from objremove.remover import Remover
from objremove.result import Result


def run(
    remover: Remover,
    jobs: Iterable[Job],
    finish: Callable[[Job, Result], T] | None = None,
    *,
    workers: int | None = None,
    ahead: int | None = None,
    ordered: bool = False,
    share_batches: bool = True,
) -> Generator[Outcome[T], None, None]:
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
    for name, number in (("workers", workers), ("ahead", ahead)):
        check(name, number, Integral, lambda value: value >= 1, "1 or more", optional=True)
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
) -> Generator[Outcome[T], None, None]:
    threads = remover.threads or cores()
    source = enumerate(jobs)
    wanted = workers or threads
    first = list(islice(source, min(wanted, ahead or wanted)))
    if not first:
        return
    count = len(first)
    most = ahead or 2 * count + (remover.inpainter().batch_size if share_batches else 0)
    crew: Crew[T] = Crew(remover, finish, share_batches=share_batches)
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
def _at_work(crew: Crew[Any], count: int, threads: int) -> Iterator[None]:
    """Meanwhile `count` workers, each with so many threads for torch and OpenCV, take steps of the crew."""
    import torch

    def work() -> None:
        torch.set_num_threads(threads)  # OpenMP keeps this number for each thread
        crew.work()

    workers = [threading.Thread(target=work, name=f"objremove-{number}", daemon=True) for number in range(count)]
    with _THREADS.reduced_to(threads):
        try:
            for worker in workers:
                worker.start()
            yield
        finally:
            crew.close()
            for worker in workers:
                worker.join()


class _Threads:
    """OpenCV and torch have one number of threads for all of a process (torch also one for each thread): runs that overlap change it,
    and the last one to end restores it."""

    def __init__(self) -> None:
        self._before = (0, 0)
        self.renew()

    def renew(self) -> None:
        """Begin anew: also in a forked child, which has none of its parent's runs (`objremove.forks`)."""
        self._lock, self._runs = threading.Lock(), 0
        renew_in_children(self)

    @contextmanager
    def reduced_to(self, threads: int) -> Iterator[None]:
        import cv2
        import torch

        with self._lock:
            if not self._runs:
                self._before = cv2.getNumThreads(), torch.get_num_threads()
            self._runs += 1
            cv2.setNumThreads(threads)
        try:
            yield
        finally:
            with self._lock:
                self._runs -= 1
                if not self._runs:
                    cv2.setNumThreads(self._before[0])
                    torch.set_num_threads(self._before[1])


_THREADS = _Threads()


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
