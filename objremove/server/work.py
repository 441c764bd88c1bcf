"""What routes share: the parts of a running server, and how a coroutine waits for a job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import anyio
from anyio.to_thread import run_sync
from fastapi import Depends, Request, UploadFile

from objremove.server.engine import Engine
from objremove.server.intake import Intake
from objremove.server.jobs import Job, Worker
from objremove.server.metrics import Metrics
from objremove.server.problems import Problem
from objremove.server.settings import Settings
from objremove.server.store import Store, StoredPhoto

T = TypeVar("T")
_DECODERS = 2


@dataclass(eq=False)
class Server:
    """The parts of a running server.

    Attributes:
        worker: works on the models.
        fetcher: fetches weights, so that nobody who waits for the models waits for the network.
        ready: whether the models are loaded.
        failure: why they cannot be; None where that is not so.
    """

    settings: Settings
    store: Store
    intake: Intake
    engine: Engine
    worker: Worker
    fetcher: Worker
    metrics: Metrics
    ready: bool = False
    failure: str | None = None
    decoders: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(_DECODERS))

    async def decoding(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run what decodes or encodes pictures in a thread, a few at a time."""
        return await run_sync(function, *arguments, limiter=self.decoders)

    async def photo(self, photo: UploadFile | None, photo_id: str | None) -> StoredPhoto:
        """The photo that a request sent along or named by its id."""
        if (photo is None) == (photo_id is None):
            raise Problem(422, "invalid", "give either photo, a file, or photo_id")
        if photo_id is not None:
            return self.store.get(photo_id)
        assert photo is not None
        return self.store.add(await self.decoding(self.intake.accept, await photo.read(), photo.filename))

    def job(self, kind: str, work: Callable[[Job], Any], holds: Iterable[bytes]) -> Job:
        """A job for the models that needs the files it `holds`, put in line."""
        return self.worker.submit(Job(kind, work, self.settings.timeout, holds=holds))

    def find_job(self, job_id: str) -> Job | None:
        """The job of that id, of whichever worker, while it is remembered."""
        return self.worker.find(job_id) or self.fetcher.find(job_id)

    def cancel(self, job: Job) -> None:
        """Cancel a job, at the worker whose it is."""
        (self.fetcher if self.fetcher.find(job.job_id) else self.worker).cancel(job)

    async def outcome(self, request: Request, kind: str, work: Callable[[Job], Any], holds: Iterable[bytes]) -> Any:
        """What comes of a job whose client waits for it; it is cancelled when the client goes away."""
        job = self.job(kind, work, holds)
        ended = asyncio.ensure_future(job.finished())
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({ended, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            gone.cancel()
            if not job.ended:
                self.worker.cancel(job)
        if job.problem is not None:
            raise job.problem
        if job.state != "done":
            raise Problem(503, "cancelled", "the request was cancelled")
        result, job.result = job.result, None  # nobody else knows of the job
        return result


async def _disconnected(request: Request) -> None:
    """Wait until the client has gone; its whole request must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _server(request: Request) -> Server:
    server = request.app.state.server
    assert isinstance(server, Server)
    return server


ServerHere = Annotated[Server, Depends(_server)]
"""The server, as a route's argument."""
