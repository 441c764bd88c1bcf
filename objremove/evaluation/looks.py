"""Requests judged: what naming a class finds where it is and where it is not, at the first look and with the second.

The second look (`objremove.segmentation.SecondLook`) takes the user's word that the class is there. It helps where that is true
and harms where it is not, so that both are counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from objremove.classes import VOC
from objremove.evaluation.detection import Counts
from objremove.instances import Instance
from objremove.remover import Remover
from objremove.segmentation.second_look import look_again
from objremove.training.files import Bytes, Record
from objremove.types import Mask

LEAST_SHARE = 0.01
"""Least share of the photo that a class covers in the labels to be named as present; as much unknown may hide one that is not."""
LEAST_IOU = 0.25
"""Overlap with the labelled pixels above which a request is answered."""
WHOLE = 0.9
"""Least share of the labelled pixels that is found where an object goes as a whole, but for what dilation takes along."""
ALONE = 0.75
"""Least share of the pixels found that are labelled so where an object goes alone: less, and something else goes with it."""


def _counts() -> Counts:
    return np.zeros(len(VOC), np.int64)


@dataclass
class Asked:
    """Requests for one class each, (21,) by VOC index.

    Attributes:
        requests: how many.
        first: for how many of them the first look found something, or what is asked here.
        second: likewise with a second look where the first found nothing that it was sure of.
    """

    requests: Counts = field(default_factory=_counts)
    first: Counts = field(default_factory=_counts)
    second: Counts = field(default_factory=_counts)

    def add(self, label: int, *, first: bool, second: bool) -> None:
        """Count one request."""
        self.requests[label] += 1
        self.first[label] += first
        self.second[label] += second


@dataclass
class LookScores:
    """Counts over photos.

    A class is present where it covers `LEAST_SHARE` of the photo in the labels; the request is answered where an instance
    overlaps these pixels by an IoU above `LEAST_IOU`, unknown pixels left out. It is absent where no pixel is labelled with it,
    the photo's source labels it at all, and less than `LEAST_SHARE` of the photo is unknown; there, anything found counts.

    Attributes:
        present: requests for what is there, and those that are answered.
        whole: the same requests, and those of which all that is found covers `WHOLE` of the labelled pixels.
        alone: the same requests, and those of which something is found and `ALONE` of it lies on these pixels, unknown ones left out.
        absent: requests for what is not there, and those where something is found.
    """

    present: Asked = field(default_factory=Asked)
    whole: Asked = field(default_factory=Asked)
    alone: Asked = field(default_factory=Asked)
    absent: Asked = field(default_factory=Asked)

    def add(
        self,
        labels: Bytes,
        first: Sequence[Instance],
        second: Sequence[Instance],
        *,
        known: Collection[int],
        vocabulary: Collection[int],
    ) -> None:
        """Count every request that one photo allows.

        Args:
            labels: (H, W) VOC index, 255 = unknown.
            first: what the first look found, of all classes.
            second: what the second look adds, each class being named by itself.
            known: VOC indices that the segmenter knows: others cannot be named.
            vocabulary: VOC indices that the photo's source labels (`vocabularies`).
        """
        areas = np.bincount(labels.ravel(), minlength=256)
        all_known = areas[len(VOC) :].sum() < LEAST_SHARE * labels.size
        for label in known:
            if areas[label] >= LEAST_SHARE * labels.size:
                for asked, holds in ((self.present, _answered), (self.whole, _whole), (self.alone, _alone)):
                    once, again = (holds(labels, found, label) for found in (first, [*first, *second]))
                    asked.add(label, first=once, second=again)
            elif not areas[label] and label in vocabulary and all_known:
                once, again = (any(one.label == VOC[label] for one in found) for found in (first, [*first, *second]))
                self.absent.add(label, first=once, second=again)


def second_looks(finder: Remover, photo: Bytes, found: Sequence[Instance]) -> list[Instance]:
    """What a second look adds to `found`, the first, where each VOC class is named by itself; nothing where there is none.

    One pass of the network does for all classes: each is presumed alone, and objects of two may share pixels (`SecondLook`).
    """
    segmenter = finder.shelf.segmenter()
    return look_again(segmenter, photo, set(segmenter.classes).intersection(VOC), found, confidence=finder.confidence)


def vocabularies(records: Iterable[Record]) -> dict[str, set[int]]:
    """VOC indices that each source labels in any of the records: of others it does not say that they are absent."""
    found: dict[str, set[int]] = {}
    for record in records:
        found.setdefault(record.source, set()).update(record.classes)
    return found


def _answered(labels: Bytes, found: Iterable[Instance], label: int) -> bool:
    """Whether an instance of the class overlaps all that is labelled so."""
    truth, known = labels == label, labels < len(VOC)
    ious = ((truth & one.mask).sum() / (truth | (one.mask & known)).sum() for one in found if one.label == VOC[label])
    return any(bool(iou > LEAST_IOU) for iou in ious)


def _whole(labels: Bytes, found: Iterable[Instance], label: int) -> bool:
    """Whether the instances of the class together cover nearly all that is labelled so."""
    return bool(_covered(labels, found, label)[labels == label].mean() >= WHOLE)


def _alone(labels: Bytes, found: Iterable[Instance], label: int) -> bool:
    """Whether the instances of the class lie together on little else than what is labelled so."""
    hit = (labels == label)[_covered(labels, found, label) & (labels < len(VOC))]
    return bool(hit.size and hit.mean() >= ALONE)


def _covered(labels: Bytes, found: Iterable[Instance], label: int) -> Mask:
    covered = np.zeros(labels.shape, np.bool_)
    for one in found:
        if one.label == VOC[label]:
            one.paint(covered)
    return covered
