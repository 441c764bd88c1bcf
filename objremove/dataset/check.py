"""Looking again: whether a segmenter still finds the class where it was removed, and filling anew where it does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from objremove.dataset.retouch import fill
from objremove.instances import Instance
from objremove.masks import OWN_MASK
from objremove.remover import Remover
from objremove.request import Request
from objremove.result import Result
from objremove.types import Mask

_LEAST_AREA = 0.02  # of the hole: what is smaller than that is no object that was left
_NEAR, _KNOWN = 0.5, 0.5  # share of what is found that lies around the hole; share that is an object which stays


@dataclass(frozen=True)
class Check:
    """What a segmenter said.

    Attributes:
        passed: it finds nothing of the classes in and around the hole.
        rounds: how often the hole was grown and filled anew.
        left: share of the hole and its surroundings that is still found; 0 where it passed.
    """

    passed: bool
    rounds: int
    left: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"passed": self.passed, "rounds": self.rounds, "left": round(self.left, 4)}


def look_again(
    remover: Remover, result: Result, spare: Sequence[Instance], labels: Sequence[str], *, rounds: int
) -> tuple[Result, Check]:
    """The result, filled anew up to `rounds` times while the segmenter finds what was removed.

    Args:
        remover: whose segmenter looks, and that fills.
        result: a first result, with something removed.
        spare: objects that stay, of whatever class: they are not taken for what was removed, and not grown into.
        labels: the classes that went, in the segmenter's words.
        rounds: how often to grow and fill anew.
    """
    models = dict(result.models)
    for done in range(rounds + 1):
        near = _grown(result.mask)
        found = _left(remover, result, near, spare, labels)
        segmenter, digest = remover.shelf.identity(remover.shelf.segmenter(labels))
        models[segmenter] = digest
        share = sum(one.area for one in found) / int(np.count_nonzero(near))
        again = None
        if found and done < rounds:
            stays = np.zeros_like(near)
            for one in spare:
                one.paint(stays)
            hole = Instance.from_mask(near & ~stays, label=OWN_MASK, source="check")
            grown = [*result.instances, *found, *([hole] if hole else [])]
            again = fill(remover, result.photo, Request(instances=grown, spare=spare))
        if again is None:
            return replace(result, models=models), Check(not found, done, share)
        result = replace(again, instances=result.instances, notes=(*result.notes, *again.notes))
    raise AssertionError("the last round always answers")


def _left(
    remover: Remover, result: Result, near: Mask, spare: Sequence[Instance], labels: Sequence[str]
) -> list[Instance]:
    """What the segmenter still finds around the hole, and that is none of the objects that stay."""
    least = max(16, _LEAST_AREA * np.count_nonzero(result.mask))
    left = []
    for one in remover.find(result.pixels, list(labels)):
        x0, y0, x1, y1 = one.box
        known = np.zeros_like(near)
        for other in spare:
            other.paint(known)
        is_near = float(near[y0:y1, x0:x1][one.crop].mean()) >= _NEAR
        is_known = float(known[y0:y1, x0:x1][one.crop].mean()) >= _KNOWN
        if one.area >= least and is_near and not is_known:
            left.append(one)
    return left


def _grown(hole: Mask) -> Mask:
    """The hole and what lies around it, as far as a tenth of its extent."""
    import cv2

    radius = max(4, round(0.1 * math.sqrt(np.count_nonzero(hole))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(hole.astype(np.uint8), kernel), np.bool_)
