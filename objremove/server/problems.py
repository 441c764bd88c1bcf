"""What goes wrong with a request, as `{"error": {"code", "message"}}`: one line each, and nothing of the server's insides."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from objremove.errors import ModelError, ObjRemoveError, PhotoError, UsageError

logger = logging.getLogger("objremove.server")

_CODES = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    415: "unsupported",
    421: "wrong_host",
    422: "invalid",
    429: "busy",
    503: "unavailable",
}
# An address of an object in memory, or a path of more than one step: of no use to a client, and none of its business.
_INSIDES = re.compile(r"<[^<>]*0x[0-9a-f]+[^<>]*>|(?<![\w:/.])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\:;,()']+){2,}")


class Problem(Exception):
    """A request that is refused, with its status, a code for programs and one line for people."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    def to_dict(self) -> dict[str, str]:
        """The content of `error`."""
        return {"code": self.code, "message": self.message}


def problem_of(error: Exception) -> Problem:
    """What a client is told of an error of the package; anything unknown is told as nothing but that."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, PhotoError):
        return Problem(422, "bad_photo", public(str(error).removeprefix("input: ")))
    if isinstance(error, UsageError):
        return Problem(422, "invalid", public(str(error)))
    if isinstance(error, ModelError):
        logger.warning("a model cannot be used: %s", error)
        return Problem(503, "model_unavailable", "the model cannot be used; the server's log says why")
    if isinstance(error, ObjRemoveError):
        return Problem(422, "invalid", public(str(error)))
    if isinstance(error, MemoryError):
        return Problem(503, "no_memory", "not enough memory for this photo just now", retry_after=30)
    logger.error("unexpected %s", type(error).__name__, exc_info=error)
    return Problem(500, "internal", "something went wrong in the server; its log has the request id")


def public(message: str) -> str:
    """A message in one line, without addresses and paths."""
    return " ".join(_INSIDES.sub("…", message).split())


def response_of(problem: Problem) -> JSONResponse:
    """The answer that tells a client of a problem."""
    return JSONResponse({"error": problem.to_dict()}, problem.status, problem.headers)


def install(app: FastAPI) -> None:
    """Have the app answer every error in the one form."""

    def known(_: Request, error: Exception) -> JSONResponse:
        return response_of(problem_of(error))

    def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        problem = Problem(error.status_code, _CODES.get(error.status_code, "error"), public(str(error.detail)))
        problem.headers = dict(error.headers or {})
        path = getattr(request.scope.get("route"), "path", "")
        if error.status_code == 405 and path in app.openapi()["paths"]:  # all of the path's methods, not one route's
            problem.headers["Allow"] = ", ".join(sorted(map(str.upper, app.openapi()["paths"][path])))
        return response_of(problem)

    def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return response_of(Problem(422, "invalid", "; ".join(_said(one) for one in error.errors()[:3])))

    for kind in (Problem, ObjRemoveError, MemoryError):
        app.add_exception_handler(kind, known)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)


def _said(error: Mapping[str, Any]) -> str:
    """One validation error, without what the client sent."""
    where = ".".join(str(part) for part in error["loc"][1:]) or "request"
    if "UploadFile" in error["msg"]:
        return f"{where}: must be a file"
    return f"{where}: {error['msg'][:1].lower()}{error['msg'][1:]}"
