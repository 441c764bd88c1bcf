"""What a setting may be; each check raises a ValueError that names the field."""

from __future__ import annotations

import math


def refuse_below_0(config: object, *names: str) -> None:
    """Every field named is 0 or more, and finite."""
    for name in names:
        if not 0 <= getattr(config, name) < math.inf:
            raise ValueError(f"{name} must be 0 or more, and finite")


def refuse_no_share(config: object, *names: str) -> None:
    """Every field named is in 0..1."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} must be in 0..1")


def refuse_no_range(config: object, name: str, *, most: float) -> None:
    """The field named is a (low, high) above 0, and `most` at most."""
    low, high = getattr(config, name)
    if not (0 < low <= high <= most and high < math.inf):
        raise ValueError(f"{name} must be a range above 0{'' if most == math.inf else f', {most:g} at most'}")
