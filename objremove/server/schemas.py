"""What the server answers, as the OpenAPI document tells it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorDetail(_Answer):
    """What went wrong."""

    code: str = Field(description="For programs.", examples=["unknown_photo"])
    message: str = Field(description="One line for people: what, where, what to do.")


class Error(_Answer):
    """The answer to every request that is refused or fails."""

    error: ErrorDetail


class PhotoInfo(_Answer):
    """A photo that the server keeps for a while."""

    photo_id: str = Field(examples=["Zk3q0b6mT2m1yVYx0pV2mWQ9"])
    name: str = Field(description="The name that it would be downloaded under.", examples=["beach.jpg"])
    width: int
    height: int
    format: str = Field(examples=["JPEG"])
    megapixels: float
    bytes: int
    expires_in: int = Field(description="Seconds without use after which it is forgotten.")


class Instance(_Answer):
    """One object in a photo."""

    label: str = Field(description="Class name, or what prompted it: point, box, mask.", examples=["person"])
    score: float
    box: list[int] = Field(
        description="x0, y0, x1, y1 in photo pixels; x1 and y1 exclusive.", examples=[[40, 12, 90, 160]]
    )
    area: int = Field(description="Pixels of its mask.")
    source: str = Field(description="The model that drew it.")
    second_look: bool = Field(
        description="Whether it was found only because its class was named: less sure than its like."
    )
    extends: bool = Field(
        description="Whether it holds more of an object of its class that was found without naming it: together they count as one."
    )
    outline: list[list[list[int]]] = Field(
        description="Polygons of [x, y] in photo pixels, to be filled by the even-odd rule.",
        examples=[[[[40, 12], [90, 12], [90, 160]]]],
    )


class NamedInstance(Instance):
    """One object in a photo, with the id by which it can be removed."""

    id: str = Field(description="For `instances` of a removal from this photo.", examples=["p7Hs0vQx1a2b"])
    number: int = Field(description="Its place in its class by falling area, as in `person#2`.", examples=[2])


class Selection(NamedInstance):
    """What a client pointed at."""

    photo_id: str
    width: int
    height: int


class Detection(_Answer):
    """What is in a photo."""

    photo_id: str
    width: int
    height: int
    models: dict[str, str | None] = Field(description="SHA-256 of each model that took part, by name.")
    instances: list[NamedInstance]
    classes: dict[str, int] = Field(
        description="How many of each class; beside `known`, how many more.", examples=[{"person": 4}]
    )


class RemovalResult(_Answer):
    """What became of a removal; `photo_id` is the result's own."""

    photo_id: str = Field(description="The result, a photo of its own; the source where nothing changed.")
    changed: bool
    name: str
    bytes: int
    width: int
    height: int
    format: str
    instances: list[Instance] = Field(description="What went.")
    kept: list[Instance] = Field(description="What was found of the classes named, and stays.")
    mask_area: int = Field(description="Pixels that may have changed.")
    timings: dict[str, float] = Field(description="Seconds by stage.")
    windows: int
    models: dict[str, str | None]
    notes: list[str]
    warnings: list[str]


class PullResult(_Answer):
    """Weights that are now on the server."""

    name: str


class JobState(_Answer):
    """How far a job is. It ends as done, failed or cancelled."""

    job_id: str
    kind: Literal["remove", "pull"]
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    stage: Literal["read", "find", "refine", "fill", "encode", "fetch"] | None
    done: int = Field(description="Windows, or bytes of a pull.")
    total: int
    position: int = Field(description="Place in the line; 0 once it runs.")
    result: RemovalResult | PullResult | None = None
    error: ErrorDetail | None = None


class JobStarted(_Answer):
    """A job was put in line."""

    job_id: str
    events: str = Field(description="Address of its events.")
    status: str = Field(description="Address of its state.")


class ClassInfo(_Answer):
    """A class name and the other words for it."""

    name: str
    aliases: list[str]


class Classes(_Answer):
    """Every class name that is understood."""

    classes: list[ClassInfo]


class ModelInfo(_Answer):
    """A model of the registry."""

    name: str
    kind: str = Field(description="segmenter, prompter or inpainter.", examples=["segmenter"])
    title: str
    licence: str
    size: int | None = Field(description="Bytes of its weights, where known, some as their publisher rounds them.")
    state: Literal["built in", "embedded", "here", "remote", "missing"] = Field(
        description="missing: not here, and without an address to fetch it from."
    )
    auto: bool = Field(description="Whether `auto` takes it now.")


class ModelList(_Answer):
    """Every model of the registry."""

    offline: bool = Field(description="Whether weights may not be fetched.")
    models: list[ModelInfo]


class Health(_Answer):
    """How the server is."""

    status: Literal["ok", "loading", "ready", "failed"]
    version: str
    message: str | None = Field(default=None, description="Why the models cannot be loaded; only with `failed`.")
