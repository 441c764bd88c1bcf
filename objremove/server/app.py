"""`create_app`: the parts of the server put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from objremove import __version__
from objremove.errors import ObjRemoveError
from objremove.server import catalogue, problems, routes
from objremove.server.engine import Engine
from objremove.server.fields import close_forms
from objremove.server.guard import Access, Guard, Patience, Watch
from objremove.server.intake import Intake
from objremove.server.jobs import Job, Worker
from objremove.server.metrics import Metrics
from objremove.server.problems import Problem
from objremove.server.settings import Settings
from objremove.server.store import Store
from objremove.server.work import Server

logger = logging.getLogger("objremove.server")

PAGE = Path(__file__).parent / "page"
SIGN_IN = Path(__file__).parent / "signin"
_DESCRIPTION = """Removes objects from photos. Send a photo (`POST /v1/photos`), see what is in it (`POST /v1/detect`), remove what should
go (`POST /v1/remove`); a result is a photo of its own. Photos are kept in memory and forgotten when they have not been used for a while."""


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application of a server, with its own models, photos and threads.

    The threads start with the application's lifespan and end with it; so do all photos.
    """
    access, metrics = Access(settings.token), Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server = _open(settings, metrics)
        app.state.server = server
        tidying = asyncio.create_task(_tidy(server.store))
        try:
            yield
        finally:
            tidying.cancel()
            server.worker.close()
            server.fetcher.close(1.0)
            server.store.clear()
            server.intake.clear()

    app = _Api(
        title="objremove",
        version=__version__,
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        form_limits={"max_files": 10, "max_fields": 700, "max_part_size": 4096},
    )
    app.state.access = access
    problems.install(app)
    app.include_router(routes.router, tags=["photos"])
    app.include_router(routes.streams, tags=["photos"])
    app.include_router(catalogue.router, tags=["catalogue"])
    app.include_router(catalogue.health, tags=["health"])
    _add_page(app, access)

    # The last one added stands outermost.
    app.add_middleware(Patience, settings=settings)
    app.add_middleware(Guard, settings=settings, access=access)
    if settings.allow_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.allow_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Prefer"],
            expose_headers=["X-Photo-Id", "X-Request-Id", "Retry-After", "Location", "Content-Disposition"],
        )
    app.add_middleware(Watch, metrics=metrics)
    return app


class _Api(FastAPI):
    """An application whose forms are described as what they are: without other fields."""

    def openapi(self) -> dict[str, Any]:
        """As in FastAPI, which makes the document once."""
        made = self.openapi_schema is not None
        document = super().openapi()
        if not made:
            close_forms(document)
        return document


def _open(settings: Settings, metrics: Metrics) -> Server:
    """The parts of a server, its threads running, its models being loaded."""
    intake = Intake(settings)
    store = Store(settings.keep_bytes, settings.keep_minutes * 60, forget=intake.forget)
    engine = Engine(settings, store, intake)
    worker = Worker("objremove-models", settings.queue, most_bytes=settings.keep_bytes)
    fetcher = Worker("objremove-fetch", 2)
    server = Server(settings, store, intake, engine, worker, fetcher, metrics)
    metrics.watch("objremove_queue", "Jobs that wait for the models.", lambda: worker.waiting)
    metrics.watch("objremove_photos", "Photos and results that are kept.", lambda: store.totals[0])
    metrics.watch("objremove_photo_bytes", "Bytes of photos and results that are kept.", lambda: store.totals[1])

    def warm_up(_: Job) -> None:
        try:
            engine.warm_up()
        except Exception as error:
            logger.error("the models cannot be loaded: %s", error)
            known = isinstance(error, ObjRemoveError)
            server.failure = (
                problems.public(str(error)) if known else "the models cannot be loaded; the server's log says why"
            )
            raise
        server.ready = True

    worker.submit(Job("load", warm_up, seconds=float("inf")))
    return server


async def _tidy(store: Store) -> None:
    """Forget photos when their time is over, though nobody asks for any."""
    while True:
        await asyncio.sleep(min(30.0, store.seconds / 4))
        store.tidy()


def _add_page(app: FastAPI, access: Access) -> None:
    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        folder = PAGE if access.allows(request.headers) else SIGN_IN
        if not (folder / "index.html").is_file():
            raise Problem(404, "not_found", "this server has no page; its API is described in /openapi.json")
        return FileResponse(folder / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/signin", _Files(directory=SIGN_IN))
    app.mount("/static", _Files(directory=PAGE, check_dir=False))


class _Files(StaticFiles):
    """Files of the package, asked for anew each time, so that an update is seen at once."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        """As in Starlette."""
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response
