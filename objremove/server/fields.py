"""Fields that a route does not have are refused: a request with a typo in one would otherwise be another request than was meant.

What a route has is what the OpenAPI document says of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import Request

from objremove.server.problems import Problem, public

_SHOWN = 64
"""Characters of a name that a client made up."""


async def refuse_unknown(request: Request) -> None:
    """Raise Problem (422) for the first form field or query parameter that the route does not have."""
    document = request.app.openapi()
    operation = document["paths"][request.scope["route"].path][request.method.lower()]
    parameters = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
    fields = [name for schema in _forms(document, operation) for name in schema["properties"]]
    if fields:  # a route without a form reads no body
        _check(await request.form(), fields, "field")
    if stray := [name for name in request.query_params if name in fields and name not in parameters]:
        raise Problem(422, "invalid", f"{stray[0]}: no query parameter here; send it as a field of the form")
    _check(request.query_params, parameters, "query parameter")


def close_forms(document: dict[str, Any]) -> None:
    """Say in an OpenAPI document that forms have no other fields than those that it names."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for schema in _forms(document, operation):
                schema["additionalProperties"] = False


def _forms(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """The schemas of the forms that an operation takes."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]


def _check(sent: Iterable[str], known: list[str], what: str) -> None:
    for name in sent:
        if name not in known:
            close = difflib.get_close_matches(name[:_SHOWN].lower(), known, 1)
            way = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}" if known else "leave it out"
            raise Problem(422, "invalid", f"{public(name[:_SHOWN]) or 'a field without a name'}: no such {what}; {way}")
