"""Filling judged: holes in photos whose content is known, every method on the same ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from objremove.errors import ObjRemoveError
from objremove.evaluation.holes import Case, HoleSet, make_case
from objremove.evaluation.metrics import edge, fidelity
from objremove.evaluation.networks import Distance, FrechetDistances
from objremove.evaluation.rows import Row
from objremove.evaluation.sheets import SheetRow, tinted
from objremove.remover import Remover
from objremove.training.files import Bytes
from objremove.training.library import PhotoLibrary

SHEET_ROWS = 12
"""Photos on the contact sheet."""


@dataclass
class Filling:
    """What came out.

    Attributes:
        rows: one for each method on each photo and set.
        frechet: FID by (set, method).
        sheet: rows of the contact sheet, evenly drawn from the sets.
        failed: photos that were left out because something is wrong with them, and why.
        small: number of photos smaller than the crop, by set.
    """

    rows: list[Row] = field(default_factory=list)
    frechet: dict[tuple[str, str], float] = field(default_factory=dict)
    sheet: list[SheetRow] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    small: dict[str, int] = field(default_factory=dict)


def evaluate_filling(
    photos: PhotoLibrary,
    sets: Mapping[str, HoleSet],
    methods: Mapping[str, Remover],
    *,
    distances: Mapping[str, Distance],
    frechet: FrechetDistances | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Filling:
    """Cut a hole of every set into every photo and let every method fill it.

    Holes are pasted hard, with no feather: a soft edge would hand the original's own pixels to the method.

    Args:
        photos: what is filled; one that cannot be read or filled is named in `failed` and left out for all methods.
        sets: laws of holes by name.
        methods: removers by the name of their inpainter.
        distances: scores of networks, by their names in `rows.SCORES`.
        frechet: for FID.
        seed: of the holes.
        progress: called with (photos done, photos in all).
    """
    out = Filling(small=dict.fromkeys(sets, 0))
    shown: dict[str, list[SheetRow]] = {}
    for number, (name, holes) in enumerate(sets.items()):
        for index, record in enumerate(photos.records):
            if progress:
                progress(number * len(photos) + index, len(sets) * len(photos))
            try:
                case = make_case(name, holes, record.key, photos.photo(index), seed=seed)
                if case is None:
                    out.small[name] += 1
                    continue
                filled = {method: _fill(remover, case) for method, remover in methods.items()}
            except ObjRemoveError as error:
                out.failed[record.key] = str(error)
                continue
            pictures = [picture for picture, _ in filled.values()]
            rows = shown.setdefault(name, [])
            if len(rows) <= index * SHEET_ROWS // len(photos):
                rows.append((f"{name}  {case.photo}", [case.original, tinted(case.original, case.hole), *pictures]))
            for method, (picture, seconds) in filled.items():
                scores = {**_scores(picture, case, distances), "seconds": seconds}
                out.rows.append(Row(name, case.photo, method, scores))
            if frechet:
                frechet.update(case.original, {method: picture for method, (picture, _) in filled.items()})
        if frechet:
            out.frechet |= {(name, method): value for method, value in frechet.compute().items()}
    for number, rows in enumerate(shown.values()):
        count = min(len(rows), max(1, SHEET_ROWS // len(shown)))
        first = number / len(shown)  # each set begins elsewhere, so that they show different photos
        out.sheet += [rows[int((at + first) * len(rows) / count)] for at in range(count)]
    return out


def _fill(remover: Remover, case: Case) -> tuple[Bytes, float]:
    """The filled crop, and the seconds that filling took."""
    result = remover.fill(case.original, case.hole)
    return result.pixels.astype("uint8"), result.timings["fill"]


def _scores(filled: Bytes, case: Case, distances: Mapping[str, Distance]) -> dict[str, float]:
    return {
        **{score: measure(filled, case.original, case.hole) for score, measure in distances.items()},
        **fidelity(filled, case.original, case.hole),
        **edge(filled, case.hole),
        "hole_share": float(case.hole.mean()),
    }
