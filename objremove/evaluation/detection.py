"""Finding judged: intersection over union by class, and objects that were missed or made up."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from objremove.classes import VOC
from objremove.instances import Instance, union
from objremove.training.files import Bytes
from objremove.types import Mask

SMALLEST_OBJECT = 0.005
"""Least share of the photo that a labelled part covers to count as an object."""

Counts = NDArray[np.int64]


class DetectionScores:
    """Counts over photos.

    An object is a connected part (8 neighbours) of one class in the labels that covers `SMALLEST_OBJECT` of the photo; it is missed
    where what was found of its class covers less than half of it. A found instance is false where less than half of it lies on
    its class, among pixels whose class is known. A found object that is one with its neighbour is neither: for a removal both go.

    Attributes:
        confusion: (21, 21) pixels, labelled class by found class.
        objects, missed, found, false: (21,) numbers by class.
    """

    def __init__(self) -> None:
        self.confusion: Counts = np.zeros((len(VOC), len(VOC)), np.int64)
        self.objects, self.missed, self.found, self.false = (np.zeros(len(VOC), np.int64) for _ in range(4))

    def add(self, labels: Bytes, instances: Iterable[Instance]) -> None:
        """Count one photo.

        Args:
            labels: (H, W) VOC index, 255 = unknown.
            instances: what was found; the surest one owns a pixel that several cover.
        """
        instances = sorted((one for one in instances if one.label in VOC), key=lambda one: one.score)
        answer = np.zeros(labels.shape, np.int64)
        for one in instances:
            answer[one.mask] = VOC.index(one.label)
        known = labels < len(VOC)
        pairs = labels[known].astype(np.int64) * len(VOC) + answer[known]
        self.confusion += np.bincount(pairs, minlength=self.confusion.size).reshape(self.confusion.shape)
        self._count_objects(labels, instances)
        self._count_found(labels, instances)

    @property
    def present(self) -> Mask:
        """(21,) which classes occur in the labels."""
        return np.asarray(self.confusion.sum(1) > 0, np.bool_)

    @property
    def iou(self) -> NDArray[np.float64]:
        """(21,) intersection over union of pixels; 0 for a class that neither labels nor answers have."""
        hit = np.diag(self.confusion)
        union = self.confusion.sum(0) + self.confusion.sum(1) - hit
        return np.asarray(hit / np.maximum(1, union))

    @property
    def mean_iou(self) -> float:
        """Over the classes in the labels, background among them."""
        return float(self.iou[self.present].mean())

    def _count_objects(self, labels: Bytes, instances: Iterable[Instance]) -> None:
        for label in labelled_classes(labels):
            seen = union_mask(instances, VOC[label], labels.shape)
            for part in _objects(labels, label):
                self.objects[label] += 1
                self.missed[label] += bool(seen[part].mean() < 0.5)

    def _count_found(self, labels: Bytes, instances: Iterable[Instance]) -> None:
        for one in instances:
            label = VOC.index(one.label)
            under = labels[one.mask]
            under = under[under < len(VOC)]
            if under.size:
                self.found[label] += 1
                self.false[label] += bool((under == label).mean() < 0.5)


def labelled_classes(labels: Bytes) -> list[int]:
    """VOC indices of which the (H, W) labels hold an object."""
    present = [int(label) for label in np.unique(labels) if 0 < label < len(VOC)]
    return [label for label in present if _objects(labels, label)]


def union_mask(instances: Iterable[Instance], name: str, size: tuple[int, int]) -> Mask:
    """(H, W) bool: what the instances of a class cover."""
    return union((one for one in instances if one.label == name), size)


def _objects(labels: Bytes, label: int) -> list[Mask]:
    count, parts, stats, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= SMALLEST_OBJECT * labels.size
    return [np.asarray(parts == part) for part in range(1, count) if large[part]]
