"""Arguments of the Python interface that mean nothing, said in one line."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from objremove.errors import UsageError


def check(
    name: str,
    value: Any,
    kind: type | tuple[type, ...],
    fits: Callable[[Any], bool],
    what: str,
    *,
    optional: bool = False,
) -> None:
    """Raise UsageError, which asks for `what`, unless a value is of that kind and fits, or is None where it may be."""
    odd = isinstance(value, bool) and kind in (Integral, Real)  # True is a number to Python, and a slip here
    if not (optional and value is None) and (odd or not (isinstance(value, kind) and fits(value))):
        raise UsageError(f"{name} {value!r}: take {what}")
