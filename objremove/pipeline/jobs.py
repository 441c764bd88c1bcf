"""What goes into the pipeline and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from objremove.remover import PhotoLike
from objremove.request import Request
from objremove.result import Result

T = TypeVar("T")


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
