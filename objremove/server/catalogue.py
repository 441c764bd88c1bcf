"""The routes that deal with everything but photos: classes, models, sessions, health and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from objremove import __version__, models
from objremove.classes import ALIASES, NAMES
from objremove.server import schemas
from objremove.server.fields import refuse_unknown
from objremove.server.guard import COOKIE, Access
from objremove.server.jobs import Job
from objremove.server.problems import Problem
from objremove.server.routes import REFUSALS, started
from objremove.server.settings import Settings
from objremove.server.work import ServerHere
from objremove.shelf import EMBEDDED_PROMPTER, INPAINTERS, PROMPTERS, SEGMENTERS, usable

_PREFERRED: dict[str, Sequence[str]] = {
    "segmenter": SEGMENTERS,
    "prompter": (*PROMPTERS, EMBEDDED_PROMPTER),
    "inpainter": INPAINTERS,
}

router = APIRouter(prefix="/v1", responses=REFUSALS, dependencies=[Depends(refuse_unknown)])
health = APIRouter()


@router.get("/classes")
async def classes() -> schemas.Classes:
    """The class names that are understood, and other words for them. Which of them are found depends on the model."""
    others: dict[str, list[str]] = {name: [] for name in NAMES}
    for alias, name in ALIASES.items():
        others[name].append(alias)
    return schemas.Classes(classes=[schemas.ClassInfo(name=name, aliases=words) for name, words in others.items()])


@router.get("/models")
def model_list(server: ServerHere) -> schemas.ModelList:
    """Every model, its licence, and whether it is on the server."""
    chosen = {kind: _chosen(server.settings, kind) for kind in _PREFERRED}
    return schemas.ModelList(
        offline=server.settings.offline,
        models=[_told(model, chosen) for model in models.REGISTRY.values() if model.kind in _PREFERRED],
    )


def _chosen(settings: Settings, kind: str) -> str | None:
    """What `auto` takes now."""
    named: str = getattr(settings, kind)
    if named != "auto":
        return named
    return next((name for name in _PREFERRED[kind] if usable(models.get(name))), None)


def _told(model: models.Model, chosen: dict[str, str | None]) -> schemas.ModelInfo:
    path = models.locate(model.name) if model.needs_file else None
    return schemas.ModelInfo(
        name=model.name,
        kind=model.kind,
        title=model.title,
        licence=model.licence,
        size=models.size_of(model),
        state=_state(model, path is not None),
        auto=chosen[model.kind] == model.name,
    )


def _state(model: models.Model, here: bool) -> Literal["built in", "embedded", "here", "remote", "missing"]:
    if not model.needs_file:
        return "built in"
    if model.embedded:
        return "embedded"
    if here:
        return "here"
    return "remote" if model.urls else "missing"


@router.post("/models/{name}/pull", status_code=202, response_model=schemas.JobStarted)
def pull(name: Annotated[str, Path(max_length=64)], server: ServerHere) -> Response:
    """Fetch a model's weights and check them; a job with its progress in bytes."""
    if name not in models.REGISTRY or models.get(name).kind not in _PREFERRED:
        raise Problem(404, "unknown_model", "no model is called so: GET /v1/models lists them")
    if server.settings.offline:
        raise Problem(403, "offline", "this server was started with --offline and fetches nothing")
    if not models.get(name).urls:
        raise Problem(422, "invalid", f"{name} has nothing to fetch")
    if lacks := models.get(name).lacks:
        raise Problem(422, "invalid", f"{name} could not be used: on the server, run {lacks} first")

    def fetch(job: Job) -> dict[str, Any]:
        job.enter("fetch")
        models.fetch(name, progress=job.progress)
        return {"name": name}

    return started(server.fetcher.submit(Job("pull", fetch, seconds=float("inf"))))


def _access(request: Request) -> Access:
    access = request.app.state.access
    assert isinstance(access, Access)
    return access


@router.post("/session", status_code=204)
async def session(request: Request, response: Response, access: Annotated[Access, Depends(_access)]) -> None:
    """Exchange the token for a cookie, which scripts cannot read and other sites cannot use; ends with the server."""
    if not access.by_token(request.headers):
        raise Problem(401, "unauthorized", "send the server's token as Authorization: Bearer TOKEN")
    response.set_cookie(
        COOKIE, access.session, httponly=True, samesite="strict", secure=request.url.scheme == "https", path="/"
    )


@health.get("/healthz", response_model_exclude_none=True)
async def healthz() -> schemas.Health:
    """The server lives."""
    return schemas.Health(status="ok", version=__version__)


@health.get(
    "/readyz",
    response_model_exclude_none=True,
    responses={503: {"model": schemas.Health, "description": "The models are being loaded, or cannot be."}},
)
async def readyz(server: ServerHere) -> schemas.Health:
    """The models are loaded."""
    if server.ready:
        return schemas.Health(status="ready", version=__version__)
    if server.failure is not None:
        failed = schemas.Health(status="failed", version=__version__, message=server.failure)
        return JSONResponse(failed.model_dump(), 503)  # type: ignore[return-value]
    content = schemas.Health(status="loading", version=__version__).model_dump(exclude_none=True)
    return JSONResponse(content, 503, {"Retry-After": "5"})  # type: ignore[return-value]


@health.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {}}}, 401: REFUSALS[401]},
)
def metrics(server: ServerHere) -> Response:
    """Prometheus metrics."""
    return Response(server.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
