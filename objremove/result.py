"""`Result`: what became of one photo, and how to get it out again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from objremove.errors import UsageError
from objremove.forks import cached
from objremove.instances import Instance
from objremove.photo import Photo, write_atomic
from objremove.photo.write import Encoded
from objremove.types import AnyArray, Mask, Pixels

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, eq=False)
class Result:
    """What became of one photo.

    Attributes:
        photo: the photo as it came.
        pixels: (H, W, 3) RGB upright, of the photo's dtype: the photo without what was removed.
        alpha: (H, W) or None.
        mask: (H, W) bool: every pixel that may have changed.
        instances: what was removed, by falling area.
        kept: what was found of the classes asked for and stays, by falling area.
        timings: seconds by stage.
        windows: windows that were filled.
        models: SHA-256 (or None for a method without weights) of each model that took part, by name.
        notes: what the caller should know.
    """

    photo: Photo
    pixels: Pixels
    alpha: AnyArray | None
    mask: Mask
    instances: tuple[Instance, ...] = ()
    kept: tuple[Instance, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    windows: int = 0
    models: dict[str, str | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached
    def image(self) -> Any:
        """The result as the same kind of thing that the photo was.

        A path and a PIL image give a PIL image, bytes the encoded file, an array or tensor its like in shape, dtype and range.
        """
        return self.photo.like_source(self.pixels, self.mask, self.alpha)

    @property
    def changed(self) -> bool:
        """Whether anything was removed."""
        return bool(self.mask.any())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be kept or done as one would expect."""
        return (*self.photo.warnings, *(self.photo.unkept if self.changed else ()), *self.notes)

    def encode(self, *, format: str | None = None, quality: int | None = None) -> tuple[bytes, tuple[str, ...]]:
        """The file's bytes, in the source's format unless another is named, and what `warnings` doesn't say yet."""
        encoded = self.encoded(format=format, quality=quality)
        return encoded.data, encoded.warnings

    def encoded(self, *, format: str | None = None, quality: int | None = None) -> Encoded:
        """As `encode`, with the format; warnings are those that are not among `warnings` already."""
        file = self.photo.encode(self.pixels, self.mask, alpha=self.alpha, format=format, quality=quality)
        return replace(file, warnings=tuple(one for one in file.warnings if one not in self.warnings))

    def save(
        self, path: str | os.PathLike[str], *, format: str | None = None, quality: int | None = None
    ) -> tuple[str, ...]:
        """Write the file, all of it or nothing, in the place of one that is there; the format is `format`, else what the path's
        suffix says, else the source's. Where nothing was removed (`changed`) it is the photo as it was.

        Returns the warnings of the encoding.

        Raises:
            PhotoError: it cannot be written; UsageError: no format is called so, or no path is given.
        """
        if not isinstance(path, str | os.PathLike):
            raise UsageError(f"save writes to a path, not to {type(path).__name__}: `encode` gives the bytes")
        target = Path(path)
        data, warnings = self.encode(format=format or target.suffix.lstrip(".") or None, quality=quality)
        write_atomic(target, data)
        return warnings

    def compare(self) -> Image.Image:
        """Before | mask | after, side by side, as one RGB picture."""
        from objremove.drawing import side_by_side

        return side_by_side(self.photo.pixels, self.mask, self.pixels)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        height, width = self.photo.size
        hole = int(np.count_nonzero(self.mask))
        return {
            "width": width,
            "height": height,
            "removed": [one.to_dict() for one in self.instances],
            "kept": [one.to_dict(rle=False) for one in self.kept],
            "hole_area": hole,
            "hole_share": round(hole / max(1, width * height), 6),
            "windows": self.windows,
            "models": self.models,
            "seconds": {stage: round(seconds, 4) for stage, seconds in self.timings.items()},
            "warnings": list(self.warnings),
        }


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside towards the stage `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
