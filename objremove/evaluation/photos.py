"""Photos to judge by, each under a key of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from objremove.errors import UsageError
from objremove.training.files import Record, read_records


def read_photos(paths: Sequence[Path]) -> list[Record]:
    """Every record of the tars and folders; a key that two of them have gets the tar's or folder's name before it.

    Raises:
        UsageError: a path is named twice, does not exist, or holds no photos.
        PhotoError: a tar is damaged, or what stands beside a photo.
    """
    places = [path.resolve() for path in paths]
    if len(set(places)) < len(places):
        raise UsageError(f"a path is named twice in {', '.join(map(str, paths))}: name each once")
    found = [read_records([path]) for path in paths]
    shared = Counter(record.key for records in found for record in records)
    return [
        record if shared[record.key] == 1 else replace(record, key=f"{name}/{record.key}")
        for name, records in zip(_names(places), found, strict=True)
        for record in records
    ]


def _names(places: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    depths = range(1, 1 + max(len(place.parts) for place in places))
    ends = ([Path(*place.parts[-depth:]).as_posix() for place in places] for depth in depths)
    return next(names for names in ends if len(set(names)) == len(names))
