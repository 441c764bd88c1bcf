"""Words for people that depend on numbers."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 photo`, `2 photos`: a count with its noun; `plural` for one that takes more than an s."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"
