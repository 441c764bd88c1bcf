"""The files of a folder run: what is written beside a result, and what is deleted again."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from objremove.errors import PhotoError
from objremove.runs.layout import Item

if TYPE_CHECKING:
    from PIL import Image

    from objremove.result import Result


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
    import numpy as np
    from PIL import Image

    pictures: dict[Path, bytes] = {}
    if item.mask is not None and result.changed:
        pictures[item.mask] = _png(Image.fromarray(result.mask.astype(np.uint8) * 255))
    if item.comparison is not None and result.changed:
        pictures[item.comparison] = _png(result.compare())
    return pictures


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def link(item: Item) -> None:
    """The photo itself under the target's name."""
    item.target.unlink(missing_ok=True)
    try:
        os.link(os.path.realpath(item.source), item.target)
    except OSError as error:
        raise PhotoError(f"{item.target}: cannot be linked ({error.strerror}): take --unmatched copy") from error
