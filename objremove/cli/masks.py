"""Mask files that the command line names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from objremove.photo import Photo
    from objremove.types import AnyArray


def read_masks(paths: Sequence[Path], max_megapixels: float) -> list[AnyArray]:
    """The samples of each file, (H, W, 3 or 4); raises PhotoError where it is no picture, or larger than that."""
    from objremove.photo import Photo

    return [_samples(Photo.open(path, max_megapixels=max_megapixels)) for path in paths]


def _samples(mask: Photo) -> AnyArray:
    """Alpha included, so that masks drawn as transparency are understood."""
    import numpy as np

    return mask.pixels if mask.alpha is None else np.dstack([mask.pixels, mask.alpha])


def file_sums(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of each file: a mask that was drawn anew is another option."""
    from objremove.runs.checksums import file_digest

    return [file_digest(path) for path in paths]
