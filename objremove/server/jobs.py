"""Work in line: jobs with stages and progress that can be cancelled, and the one thread that does them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from objremove.server.problems import Problem, problem_of

logger = logging.getLogger("objremove.server")

State = Literal["queued", "running", "done", "failed", "cancelled"]
_KEPT_JOBS = 200


class Stopped(Exception):
    """The job was cancelled; raised inside its work where that asks."""


class Job:
    """One piece of work for a client.

    Args:
        kind: what it is, such as `remove`.
        work: does it; called with the job in the worker's thread, to which it reports stages and progress.
        seconds: how long it may run.
        holds: files that it needs until it has ended.

    Attributes:
        result: what `work` returned, once the state is `done`.
        problem: what went wrong, once the state is `failed`.
    """

    def __init__(self, kind: str, work: Callable[[Job], Any], seconds: float, *, holds: Iterable[bytes] = ()) -> None:
        self.job_id = secrets.token_urlsafe(18)
        self.kind, self._work, self._seconds = kind, work, seconds
        self.holds = tuple(holds)
        self.state: State = "queued"
        self.stage: str | None = None
        self.done = self.total = self.position = 0
        self.result: Any = None
        self.problem: Problem | None = None
        self.ended_at: float | None = None
        self._deadline = float("inf")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._watchers: list[Callable[[], None]] = []

    # ------------------------------------------------------------------ from the worker's thread

    def enter(self, stage: str) -> None:
        """A new stage begins; raises where the job shall stop."""
        self.stage, self.done, self.total = stage, 0, 0
        self.check()
        self.tell()

    def progress(self, done: int, total: int) -> None:
        """So much of the stage is done; raises where the job shall stop."""
        self.done, self.total = done, total
        self.check()
        self.tell()

    def check(self) -> None:
        """Raises where the job shall stop: it was cancelled, or its time is over."""
        if self._stop.is_set():
            raise Stopped
        if time.monotonic() > self._deadline:
            raise Problem(503, "timeout", f"this took more than the {self._seconds:g} s that the server allows")

    def run(self) -> None:
        """Do the work and keep what comes of it."""
        if self._stop.is_set():
            return self._end("cancelled")
        self.state, self.position = "running", 0
        self._deadline = time.monotonic() + self._seconds
        self.tell()
        try:
            self.result = self._work(self)
        except Stopped:
            self._end("cancelled")
        except Exception as error:
            # The error is remembered, and not the frames that it came through: they hold the photo.
            self.problem = problem_of(error).with_traceback(None)
            self.problem.__cause__ = self.problem.__context__ = None
            self._end("failed")
        else:
            self._end("done")

    def _end(self, state: State) -> None:
        self.state, self.ended_at = state, time.monotonic()
        self._work, self.holds = _nothing, ()
        self.tell()

    # ------------------------------------------------------------------ from any thread

    @property
    def ended(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self.ended_at is not None

    def cancel(self) -> None:
        """Stop at the next window or stage; a job that has ended stays as it is."""
        self._stop.set()

    def tell(self) -> None:
        """Wake everyone who watches."""
        with self._lock:
            watchers = list(self._watchers)
        for wake in watchers:
            with suppress(RuntimeError):  # its event loop has ended
                wake()

    @contextmanager
    def watched(self) -> Iterator[asyncio.Event]:
        """An event of the running loop that is set at every change; for coroutines."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        with self._lock:
            self._watchers.append(wake)
        try:
            yield changed
        finally:
            with self._lock:
                self._watchers.remove(wake)

    async def finished(self) -> None:
        """Wait for the end."""
        with self.watched() as changed:
            while not self.ended:
                await changed.wait()
                changed.clear()


def _nothing(_: Job) -> None:
    """The work of a job that has ended."""


class Worker:
    """One thread and its line of jobs.

    Args:
        name: of the thread.
        limit: jobs that may wait; more are refused.
        most_bytes: of the files that its jobs hold, each counted once; more are refused, but for a job that is alone.
    """

    def __init__(self, name: str, limit: int, *, most_bytes: float = float("inf")) -> None:
        self.limit, self._most_bytes = limit, most_bytes
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._seconds = 1.0  # of a job, on average
        self._changed = threading.Condition()
        self._closed = False
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> Job:
        """Put a job at the end of the line.

        Raises:
            Problem: 429, the line is full, or its jobs hold too much; 503, the server is about to end.
        """
        with self._changed:
            if self._closed:
                raise Problem(503, "stopping", "the server is about to end", retry_after=10)
            self._check_room(job.holds)
            self._waiting.append(job)
            self._jobs[job.job_id] = job
            self._forget()
            job.position = len(self._waiting)
            self._changed.notify()
        return job

    def check_room(self) -> None:
        """Raise what `submit` would raise, before anything is read and decoded for a job that cannot be taken."""
        with self._changed:
            self._check_room()

    def find(self, job_id: str) -> Job | None:
        """The job of that id, while it is remembered."""
        with self._changed:
            return self._jobs.get(job_id)

    def cancel(self, job: Job) -> None:
        """Cancel a job: at once where it waits, else at its next window or stage."""
        job.cancel()
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                job._end("cancelled")
                self._renumber()

    def close(self, seconds: float = 10.0) -> None:
        """Cancel everything and wait for the thread's end, for so long at most."""
        with self._changed:
            self._closed = True
            jobs = self._unended()
            self._changed.notify()
        for job in jobs:
            self.cancel(job)
        self._thread.join(seconds)
        self._jobs.clear()

    @property
    def waiting(self) -> int:
        """Jobs in line, the running one not counted."""
        return len(self._waiting)

    def _check_room(self, more: Iterable[bytes] = ()) -> None:
        """Raise where there is no room for a job that holds `more`; under the lock."""
        jobs = self._unended()
        held = {id(data): len(data) for holds in (more, *(job.holds for job in jobs)) for data in holds}
        if len(self._waiting) >= self.limit or (jobs and sum(held.values()) > self._most_bytes):
            raise Problem(429, "busy", "too many requests wait already: try again", retry_after=self._patience())

    def _unended(self) -> list[Job]:
        """The jobs that wait, and the one that runs; under the lock."""
        return [*self._waiting, *([self._running] if self._running else [])]

    def _patience(self) -> int:
        """Seconds after which there may be room again."""
        return max(1, min(120, round(self._seconds)))

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                job = self._running = self._waiting.popleft()
                self._renumber()
            started = time.monotonic()
            job.run()
            with self._changed:
                self._running = None
                self._seconds += 0.3 * (time.monotonic() - started - self._seconds)
            del job

    def _renumber(self) -> None:
        for place, job in enumerate(self._waiting, start=1):
            job.position = place
            job.tell()

    def _forget(self) -> None:
        """Drop the oldest jobs that have ended; under the lock."""
        ended = [key for key, job in self._jobs.items() if job.ended]
        for key in ended[: max(0, len(ended) - _KEPT_JOBS)]:
            del self._jobs[key]
