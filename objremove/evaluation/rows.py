"""One measurement of one method on one photo, and what its scores mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Score:
    """What a column of figures means.

    Attributes:
        title: for tables and plots.
        better: which way is better; `one`: a ratio whose best value is 1, averaged geometrically.
        digits: after the decimal point.
        event: whether it is 1 where something happened and 0 where not, so that a mean is a share.
    """

    title: str
    better: Literal["higher", "lower", "one"]
    digits: int = 3
    event: bool = False

    @property
    def heading(self) -> str:
        """The title with an arrow to the better side."""
        return f"{self.title} {({'higher': '↑', 'lower': '↓', 'one': '→1'})[self.better]}"


@dataclass(frozen=True)
class Row:
    """The scores of one method on one photo.

    Attributes:
        group: hole set, or class that was removed.
        photo: its key.
        method: the inpainter.
        scores: by the names of `SCORES`; one that cannot be had is missing.
    """

    group: str
    photo: str
    method: str
    scores: Mapping[str, float]


SCORES: dict[str, Score] = {
    "lpips": Score("LPIPS", "lower", 4),
    "perceptual": Score("perceptual", "lower"),
    "ssim_hole": Score("SSIM hole", "higher"),
    "psnr_hole": Score("PSNR hole", "higher", 2),
    "l1_hole": Score("L1 hole", "lower", 4),
    "ssim": Score("SSIM", "higher"),
    "psnr": Score("PSNR", "higher", 2),
    "l1": Score("L1", "lower", 4),
    "seam": Score("seam", "one", 2),
    "texture": Score("texture", "one", 2),
    "found_again": Score("found again", "lower", 2, event=True),
    "area_left": Score("area left", "lower", 2),
    "hole_share": Score("hole share", "lower"),
    "seconds": Score("seconds", "lower", 2),
}
"""Every score of a photo, in the order of the tables."""
