"""Removal judged on labelled photos: what is found, and what a segmenter still sees once it is gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from objremove.classes import VOC
from objremove.errors import ObjRemoveError
from objremove.evaluation.detection import DetectionScores, labelled_classes, union_mask
from objremove.evaluation.filling import SHEET_ROWS
from objremove.evaluation.looks import LookScores, second_looks, vocabularies
from objremove.evaluation.metrics import edge
from objremove.evaluation.rows import Row
from objremove.evaluation.sheets import SheetRow, tinted
from objremove.remover import Remover
from objremove.result import Result
from objremove.segmentation import SecondLook
from objremove.training.files import Bytes, Record
from objremove.training.library import PhotoLibrary
from objremove.types import Mask

NEIGHBOURHOOD = 0.05
"""Width of the ring around a hole that still belongs to it, as a share of the photo's longer side."""


@dataclass
class Removal:
    """What came out.

    Attributes:
        detection: how well objects are found.
        looks: what naming a class finds.
        looks_twice: whether the finder's segmenter has a second look.
        rows: one for each method, photo and class that was found and removed; the group is the class.
        requests: how many times a class was asked for of which the labels hold an object.
        unfound: how many of these found nothing to remove.
        sheet: rows of the contact sheet.
        failed: photos and requests that were left out because something went wrong, and what.
    """

    detection: DetectionScores = field(default_factory=DetectionScores)
    looks: LookScores = field(default_factory=LookScores)
    looks_twice: bool = False
    rows: list[Row] = field(default_factory=list)
    requests: int = 0
    unfound: int = 0
    sheet: list[SheetRow] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def is_judged(record: Record) -> bool:
    """Whether the photo's labels are a person's work on every class: only these say what is missed and what is false."""
    return record.labels is not None and record.label == "human"


def evaluate_removal(
    photos: PhotoLibrary,
    finder: Remover,
    methods: Mapping[str, Remover],
    judge: Remover,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Removal:
    """Find everything in every photo, then remove each class of which the labels hold an object.

    Args:
        photos: labelled ones (`is_judged`); one that cannot be read or filled is named in `failed` and left out.
        finder: whose segmenter is judged.
        methods: removers with the same segmenter, by the name of their inpainter; none: only finding is judged.
        judge: whose segmenter looks at the results.
        progress: called with (photos done, photos in all).
    """
    segmenter = finder.shelf.segmenter()
    known = [VOC.index(name) for name in segmenter.classes if name in VOC]
    labelled = vocabularies(photos.records)
    out = Removal(looks_twice=isinstance(segmenter, SecondLook))
    for index, record in enumerate(photos.records):
        if progress:
            progress(index, len(photos))
        try:
            photo, labels = photos.photo(index), photos.labels(index)
            first = finder.find(photo)
            second = second_looks(finder, photo, first)
        except ObjRemoveError as error:
            out.failed[record.key] = str(error)
            continue
        out.detection.add(labels, first)
        out.looks.add(labels, first, second, known=known, vocabulary=labelled[record.source])
        for name in [VOC[label] for label in labelled_classes(labels)] if methods else ():
            try:
                results = {method: remover(photo, name) for method, remover in methods.items()}
                _judge(out, record.key, name, photo, results, judge)
            except ObjRemoveError as error:
                out.failed[f"{record.key} without {name}"] = str(error)
                continue
            hole = next(iter(results.values())).mask
            if hole.any() and len(out.sheet) <= index * SHEET_ROWS // len(photos):
                pictures = [photo, tinted(photo, hole), *(result.pixels for result in results.values())]
                out.sheet.append((f"{name}  {record.key}", pictures))
    return out


def _judge(out: Removal, key: str, name: str, photo: Bytes, results: Mapping[str, Result], judge: Remover) -> None:
    """Rows for one class of one photo."""
    out.requests += 1
    if not next(iter(results.values())).changed:
        out.unfound += 1
        return
    near = neighbourhood(next(iter(results.values())).mask)
    before = _seen_within(judge, photo, name, near)[1]
    for method, result in results.items():
        pixels = result.pixels.astype(np.uint8)
        again, area = _seen_within(judge, pixels, name, near)
        scores = {
            "found_again": float(again),
            **edge(pixels, result.mask),
            "hole_share": float(result.mask.mean()),
            "seconds": result.timings["fill"],
        }
        if before:
            scores["area_left"] = area / before
        out.rows.append(Row(name, key, method, scores))


def neighbourhood(hole: Mask) -> Mask:
    """(H, W) bool: the hole and a ring of `NEIGHBOURHOOD` around it."""
    reach = 2 * round(NEIGHBOURHOOD * max(hole.shape)) + 1
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    return np.asarray(cv2.dilate(hole.view(np.uint8), brush), np.bool_)


def _seen_within(judge: Remover, photo: Bytes, name: str, near: Mask) -> tuple[bool, int]:
    """Whether an instance of the class lies at least half in there, and the pixels of it that the class covers."""
    found = judge.find(photo, name)
    again = any(bool(near[one.mask].mean() >= 0.5) for one in found)
    return again, int((union_mask(found, name, near.shape) & near).sum())
