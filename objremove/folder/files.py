"""The files of a folder run: what is written beside a result, and what is deleted again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from objremove.drawing import encode_picture
from objremove.errors import PhotoError
from objremove.masks import png_of
from objremove.photo import link_atomic
from objremove.result import Result
from objremove.runs.layout import Item


def discard(paths: Iterable[Path]) -> None:
    """Delete files of earlier runs, where they are.

    Raises:
        PhotoError: one of them cannot be deleted.
    """
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise PhotoError(f"{path}: cannot be deleted: {error.strerror}") from error


def extras(item: Item, result: Result) -> dict[Path, bytes]:
    """The pictures beside a result, encoded; none where nothing was removed."""
    pictures: dict[Path, bytes] = {}
    if item.mask is not None and result.changed:
        pictures[item.mask] = png_of(result.mask)
    if item.comparison is not None and result.changed:
        pictures[item.comparison] = encode_picture(result.compare())
    return pictures


def link(item: Item) -> None:
    """The photo itself under the target's name; what is there stays where that cannot be."""
    try:
        link_atomic(item.source, item.target)
    except OSError as error:
        raise PhotoError(f"{item.target}: cannot be linked ({error.strerror}): take --unmatched copy") from error
