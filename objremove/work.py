"""`Work`: one photo between the first and the last step of the road."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from objremove.inpainting.fill import Filling
from objremove.instances import Instance
from objremove.masks import Hole
from objremove.photo import Photo
from objremove.result import Clock, Result
from objremove.types import AnyArray, Mask


@dataclass
class Steps:
    """What one photo gathers on its way: seconds by stage, models that took part, and what the caller should know."""

    clock: Clock = field(default_factory=Clock)
    models: list[tuple[str, str | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Work:
    """One photo between `Remover.start` and `Remover.finish`.

    Attributes:
        photo: as it came.
        hole: what is to be filled.
        going: the objects that go, by falling area.
        kept: those that stay.
        filling: the windows to fill; None where nothing goes.
        steps: what it has gathered so far.
    """

    photo: Photo
    hole: Hole
    going: tuple[Instance, ...]
    kept: tuple[Instance, ...]
    filling: Filling | None
    steps: Steps

    def result(self) -> Result:
        """What became of the photo, when all windows are filled."""
        photo, filling = self.photo, self.filling
        return Result(
            photo=photo,
            pixels=photo.pixels if filling is None else filling.pixels,
            alpha=photo.alpha if filling is None else _filled_alpha(photo.alpha, self.hole.mask),
            mask=self.hole.mask,
            instances=self.going,
            kept=self.kept,
            timings=self.steps.clock.seconds,
            windows=0 if filling is None else len(filling.windows),
            models=dict(self.steps.models),
            notes=tuple(self.steps.notes),
        )


def _filled_alpha(alpha: AnyArray | None, hole: Mask) -> AnyArray | None:
    """Alpha continued into the hole from around it: what stood before transparency leaves transparency behind."""
    if alpha is None or alpha.min() == alpha.max():
        return alpha
    from objremove.inpainting.classical import diffused

    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    area = np.s_[max(0, rows[0] - 8) : rows[-1] + 9, max(0, columns[0] - 8) : columns[-1] + 9]
    filled = alpha.copy()
    around = diffused(np.ascontiguousarray(alpha[area]), hole[area].astype(np.uint8), 3)
    filled[area] = np.where(hole[area], around, alpha[area])
    return filled
