"""When a segmenter looks a second time (`SecondLook`), and what of its answer counts.

It does so for a class that is named, and of which the first look found nothing that it was sure of. What the first look found
stays as it is; objects that lie elsewhere, and those of which it left much out (`Instance.extends`), come to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from objremove.instances import Instance
from objremove.segmentation.base import SecondLook, Segmenter
from objremove.types import Pixels

SURE = 0.7
"""Score from which on an object of the first look answers the request, so that nobody looks again."""

LEAST_NEW = 0.25
"""Least share of an object that the first look did not find: less is the same outline drawn a little wider."""


def look_again(
    segmenter: Segmenter,
    pixels: Pixels,
    labels: Collection[str],
    found: Sequence[Instance],
    *,
    staying: Sequence[Instance] = (),
    confidence: float | None = None,
) -> list[Instance]:
    """What a second look adds to `found`, the first look, of the classes `labels`; marked so.

    Nothing where the segmenter has no second look, or where the first was sure of an object of each class. What is `staying` in
    the photo is cut from what is seen.
    """
    missed = set(labels) - {one.label for one in found if one.score >= SURE}
    if not (missed and isinstance(segmenter, SecondLook)):
        return []
    seen = segmenter.look_again(pixels, missed, confidence=confidence)
    more = []
    for one in seen:
        known = [each for each in found if each.label == one.label]
        apart = _apart_from(one, known, LEAST_NEW) and _apart_from(one, staying, 0.5)
        if apart:
            extends = any(not _apart_from(each, [one], 0.5) for each in known)
            more.append(replace(apart, second_look=True, extends=extends))
    return more


def found_again(found: Iterable[Instance], going: Iterable[Instance]) -> list[str]:
    """A line for each class of which something goes that only a second look found."""
    before = {one.label for one in found if not one.second_look}
    scores = {one.label: one.score for one in sorted(going, key=lambda one: one.area) if one.second_look}
    return [
        f"{'more of ' if label in before else ''}{label} was found only at a second look, because it was named "
        f"(score {score:.2f}): check the result"
        for label, score in sorted(scores.items())
    ]


def _apart_from(seen: Instance, others: Iterable[Instance], least: float) -> Instance | None:
    """What of it lies outside the others; None where that is not more than this share of it: then it is one of them."""
    known = np.zeros(seen.size, np.bool_)
    for one in others:
        one.paint(known)
    left = seen.minus(known)
    return left if left is not None and left.area > least * seen.area else None
