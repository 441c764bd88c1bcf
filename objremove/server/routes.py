"""The routes that deal with photos: send, look, find, select, remove, and follow jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from objremove.server import forms, schemas
from objremove.server.engine import Removal, Search
from objremove.server.fields import refuse_unknown
from objremove.server.jobs import Job
from objremove.server.pictures import preview
from objremove.server.problems import Problem
from objremove.server.shelves import Choice
from objremove.server.store import StoredPhoto
from objremove.server.work import Server, ServerHere
from objremove.targets import parse_targets, says_all

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Error, "description": text}
    for status, text in {
        400: "The request is malformed.",
        401: "The token is missing or wrong.",
        403: "A page of another site asked.",
        404: "There is no such photo, job, instance or model (any more).",
        408: "The request came too slowly.",
        409: "The model's weights are not on the server.",
        413: "Too many bytes or pixels, or more than there is memory for.",
        415: "Neither a form nor a picture of a known kind.",
        421: "The server is not called by that name.",
        422: "A field is not as it should be, or the photo is damaged.",
        429: "Too many requests wait already; Retry-After says when to try again.",
        431: "The headers are too large.",
        503: "No memory or time for this just now; Retry-After says when to try again.",
    }.items()
}
_PICTURE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}

router = APIRouter(prefix="/v1", responses=REFUSALS, dependencies=[Depends(refuse_unknown)])
# FastAPI describes all answers of a stream's route as streams, unless it is told otherwise.
streams = APIRouter(
    prefix="/v1",
    dependencies=[Depends(refuse_unknown)],
    responses={
        status: {
            "description": told["description"],
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        for status, told in REFUSALS.items()
    },
)
Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


def _stored(photo_id: Id, server: ServerHere) -> StoredPhoto:
    return server.store.get(photo_id)


def _job(job_id: Id, server: ServerHere) -> Job:
    job = server.find_job(job_id)
    if job is None:
        raise Problem(404, "unknown_job", "no such job: it ended long ago, or never was")
    return job


Stored = Annotated[StoredPhoto, Depends(_stored)]
KnownJob = Annotated[Job, Depends(_job)]


@router.post("/photos", status_code=201)
async def send_photo(server: ServerHere, photo: forms.PhotoFile) -> schemas.PhotoInfo:
    """Send a photo once, and name it by its id from then on."""
    return told(await server.photo(photo, None), server)


@router.get("/photos/{photo_id}")
async def photo_info(stored: Stored, server: ServerHere) -> schemas.PhotoInfo:
    """What is known of a photo."""
    return told(stored, server)


@router.get(
    "/photos/{photo_id}/preview", response_class=Response, responses={200: {"content": {"image/webp": _PICTURE}}}
)
async def photo_preview(
    stored: Stored, server: ServerHere, side: Annotated[int, Query(ge=16, le=4096)] = 1600
) -> Response:
    """The photo, upright, its longest side at most `side` pixels."""
    if side not in stored.previews:
        opened = await server.decoding(server.intake.opened, stored)
        stored.previews[side] = await server.decoding(preview, opened.photo, stored.data, side)
        for other in list(stored.previews)[:-4]:
            stored.previews.pop(other, None)
    return _picture(stored.previews[side], "image/webp")


@router.get("/photos/{photo_id}/file", response_class=Response, responses={200: {"content": {"image/*": _PICTURE}}})
async def photo_file(stored: Stored) -> Response:
    """The file itself: as it was sent, or a result in its source's format."""
    return _picture(stored.data, stored.media_type, attachment=stored.name)


@router.get("/photos/{photo_id}/mask", response_class=Response, responses={200: {"content": {"image/png": _PICTURE}}})
async def photo_mask(stored: Stored) -> Response:
    """The mask of a result: white where it may differ from its source."""
    if stored.mask is None:
        raise Problem(404, "no_mask", "this photo was sent, not made: only results have masks")
    return _picture(stored.mask, "image/png", attachment=f"{stored.stem}.mask.png")


@router.delete("/photos/{photo_id}", status_code=204)
async def delete_photo(photo_id: Id, server: ServerHere) -> None:
    """Forget a photo and all that was found in it."""
    server.store.delete(photo_id)


@router.post("/detect")
async def detect(
    server: ServerHere,
    request: Request,
    photo: forms.OptionalPhoto = None,
    photo_id: forms.OptionalPhotoId = None,
    remove: forms.Remove = [],  # noqa: B006 - FastAPI copies it
    known: forms.Known = [],  # noqa: B006
    confidence: forms.Confidence = None,
    segmenter: forms.Model = "auto",
) -> schemas.Detection:
    """What is in a photo: every class that the model knows, or those that `remove` names; what more of these beside `known`."""
    choice = Choice(segmenter=segmenter)
    choice.check()
    parse_targets(remove)
    if known and (not remove or says_all(remove)):
        raise Problem(422, "invalid", "known: name the classes in remove that are to be looked for again")
    server.worker.check_room()
    stored = await server.photo(photo, photo_id)
    stored.instances(known)
    search = Search(tuple(remove), tuple(known), confidence)
    found = await server.outcome(
        request, "detect", lambda job: server.engine.find(job, stored, search, choice), [stored.data]
    )
    return schemas.Detection(**found)


@router.post("/select")
async def select(
    server: ServerHere,
    request: Request,
    photo_id: forms.PhotoId,
    points: forms.Points = [],  # noqa: B006
    boxes: forms.Boxes = [],  # noqa: B006
    prompter: forms.Model = "auto",
) -> schemas.Selection:
    """The object at the points, or in the one box: its id can be removed."""
    choice = Choice(prompter=prompter)
    choice.check()
    stored = server.store.get(photo_id)
    if bool(points) == bool(boxes) or len(boxes) > 1:
        raise Problem(422, "invalid", "give either points, all on one object, or one box")
    targets = parse_targets(points=points, boxes=boxes)
    targets.check_inside(stored.size)
    places = [(point.x, point.y, point.positive) for point in targets.points]
    frames = [(box.x0, box.y0, box.x1, box.y1) for box in targets.boxes]
    chosen = await server.outcome(
        request, "select", lambda job: server.engine.select(job, stored, places, frames, choice), [stored.data]
    )
    return schemas.Selection(**chosen)


@router.post(
    "/remove",
    response_model=schemas.RemovalResult,
    responses={
        200: {
            "content": {"image/*": _PICTURE},
            "description": "The photo without it; with JSON and Prefer: wait, what became of it.",
        },
        202: {"model": schemas.JobStarted, "description": "With Accept: application/json: a job was put in line."},
    },
)
async def remove(
    server: ServerHere,
    request: Request,
    photo: forms.OptionalPhoto = None,
    photo_id: forms.OptionalPhotoId = None,
    remove: forms.Remove = [],  # noqa: B006
    keep: forms.Keep = [],  # noqa: B006
    instances: forms.Instances = [],  # noqa: B006
    points: forms.Points = [],  # noqa: B006
    boxes: forms.Boxes = [],  # noqa: B006
    mask: forms.Masks = [],  # noqa: B006
    keep_mask: forms.KeepMasks = [],  # noqa: B006
    dilate: forms.Dilate = "auto",
    feather: forms.Feather = None,
    confidence: forms.Confidence = None,
    format: forms.Format = None,
    quality: forms.Quality = None,
    segmenter: forms.Model = "auto",
    prompter: forms.Model = "auto",
    inpainter: forms.Model = "auto",
    accept: Annotated[str, Header(description="image/*: wait for the picture; application/json: start a job.")] = "*/*",
    prefer: Annotated[str, Header(description="wait: with JSON, answer when the job has ended.")] = "",
) -> Response:
    """Remove objects: what is named, found before, pointed at or masked."""
    parse_targets(remove, keep=keep, points=points, boxes=boxes)
    server.worker.check_room()
    removal = Removal(
        photo=await server.photo(photo, photo_id),
        choice=Choice(segmenter, prompter, inpainter),
        remove=remove,
        keep=keep,
        instances=instances,
        points=points,
        boxes=boxes,
        masks=[await file.read() for file in mask],
        keep_masks=[await file.read() for file in keep_mask],
        dilate=dilate,
        feather=feather,
        confidence=confidence,
        format=format,
        quality=quality,
    )
    removal.check()
    parse_targets(points=points, boxes=boxes).check_inside(removal.photo.size)
    return await _removed(server, request, removal, as_json="application/json" in accept, waits="wait" in prefer)


async def _removed(server: Server, request: Request, removal: Removal, *, as_json: bool, waits: bool) -> Response:
    def work(job: Job) -> Any:
        return server.engine.remove(job, removal)

    if as_json and not waits:
        return started(server.job("remove", work, removal.files))
    result = await server.outcome(request, "remove", work, removal.files)
    if as_json:
        return JSONResponse(result)
    if not result["changed"]:
        why = "; ".join(result["notes"]) or "the photo would come back as it is"
        raise Problem(422, "nothing_found", f"nothing to remove was found: {why}")
    stored = server.store.get(result["photo_id"])
    response = _picture(stored.data, stored.media_type, attachment=stored.name)
    response.headers["X-Photo-Id"] = stored.photo_id
    return response


def started(job: Job) -> JSONResponse:
    """The answer that names a job and where to follow it."""
    status = f"/v1/jobs/{job.job_id}"
    content = schemas.JobStarted(job_id=job.job_id, events=f"{status}/events", status=status)
    return JSONResponse(content.model_dump(), 202, {"Location": status})


@router.get("/jobs/{job_id}")
async def job_state(job: KnownJob) -> schemas.JobState:
    """How far a job is."""
    return state(job)


@streams.get("/jobs/{job_id}/events", response_class=EventSourceResponse)
async def job_events(job: KnownJob) -> AsyncIterator[ServerSentEvent]:
    """The job's state, now and at every change, until it has ended."""
    with job.watched() as changed:
        while True:
            ended = job.ended
            yield ServerSentEvent(raw_data=state(job).model_dump_json())
            if ended:
                return
            await changed.wait()
            changed.clear()


@router.delete("/jobs/{job_id}", status_code=202)
async def cancel_job(job: KnownJob, server: ServerHere) -> schemas.JobState:
    """Cancel a job: at once where it waits, else before its next window. One that has ended stays as it is."""
    server.cancel(job)
    return state(job)


def state(job: Job) -> schemas.JobState:
    """A job as clients see it."""
    return schemas.JobState.model_validate(
        {
            "job_id": job.job_id,
            "kind": job.kind,
            "state": job.state,
            "stage": job.stage,
            "done": job.done,
            "total": job.total,
            "position": job.position,
            "result": job.result,
            "error": None if job.problem is None else job.problem.to_dict(),
        }
    )


def told(stored: StoredPhoto, server: Server) -> schemas.PhotoInfo:
    """A photo as clients see it."""
    height, width = stored.size
    return schemas.PhotoInfo(
        photo_id=stored.photo_id,
        name=stored.name,
        width=width,
        height=height,
        format=stored.format,
        megapixels=round(width * height / 1e6, 3),
        bytes=len(stored.data),
        expires_in=round(server.store.seconds),
    )


def _picture(data: bytes, media_type: str, *, attachment: str | None = None) -> Response:
    """A file; its id never changes content, so it may be kept by who asked for it."""
    headers = {"Cache-Control": "private, max-age=3600, immutable"}
    if attachment is not None:
        plain = attachment.encode("ascii", "replace").decode().replace("?", "_").replace("\\", "_").replace('"', "_")
        headers["Content-Disposition"] = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(attachment)}"
        headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return Response(data, media_type=media_type, headers=headers)
