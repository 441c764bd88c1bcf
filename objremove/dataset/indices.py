"""What speaks of all photos of a result together: COCO's JSON, the lists of splits, `pairs.jsonl`. Written last, from the report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from objremove.dataset.ledger import read_edit
from objremove.dataset.plan import Dataset
from objremove.dataset.sample import Edit
from objremove.photo import write_atomic
from objremove.runs.layout import STATE
from objremove.runs.manifest import Manifest

WITH, WITHOUT, HOLES, PAIRS = "with", "without", "holes", "pairs.jsonl"
"""Where the two halves of counterfactual pairs go, the masks of what differs, and their list."""

_WRITTEN: Final = "indices.json"  # in the folder of the run's state: the files that the last run wrote here

Planned = Sequence[tuple[Dataset, str]]
"""Photos of a result, by their names in the report, in the order of the datasets."""


def write_indices(manifest: Manifest, datasets: Sequence[Dataset], planned: Planned, *, paired: bool) -> None:
    """Write what speaks of the photos that the present run has results of, and delete such files of runs before it.

    Args:
        manifest: the report.
        datasets: what the photos are of.
        planned: the photos that the run looked at.
        paired: results are in two halves, see `WITH`.
    """
    out = manifest.output
    edits: dict[Dataset, list[Edit]] = {dataset: [] for dataset in datasets}
    for dataset, edit, _ in _done(manifest, planned):
        edits[dataset].append(edit)
    written: list[Path] = []
    for dataset, its in edits.items():
        written += dataset.finish(its, out / WITHOUT if paired else out)
        if paired:
            sources = dict.fromkeys(edit.source for edit in its)
            written += dataset.finish([Edit(name, name) for name in sources], out / WITH)
    if paired:
        rows = (json.dumps(_pair(*one), ensure_ascii=False) for one in _done(manifest, planned))
        write_atomic(out / PAIRS, "".join(f"{row}\n" for row in rows).encode())
        written.append(out / PAIRS)
    _replace_former(out, {path.relative_to(out).as_posix() for path in written})


def hole_of(dataset: Dataset, edit: Edit) -> Path:
    """Where a hole's mask goes; the photo's own suffix stays, for two photos may differ in nothing else."""
    return Path(HOLES) / f"{dataset.photo_target(edit.name)}.png"


def _pair(dataset: Dataset, edit: Edit, line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "with": (Path(WITH) / dataset.photo_target(edit.source)).as_posix(),
        "without": line["photo"],
        "hole": hole_of(dataset, edit).as_posix(),
        "source": edit.source,
        "removed": line["labels"]["removed"],
        "hole_share": line["hole_share"],
    }


def _replace_former(out: Path, written: set[str]) -> None:
    """Delete the indices of the run before that this one has not, and remember this one's."""
    path = out / STATE / _WRITTEN
    former = set(json.loads(path.read_bytes())) if path.exists() else set()
    for place in former - written:
        (out / place).unlink(missing_ok=True)
    write_atomic(path, json.dumps(sorted(written)).encode())


def _done(manifest: Manifest, planned: Planned) -> Iterator[tuple[Dataset, Edit, dict[str, Any]]]:
    """The photos of the result with what the report says of them."""
    if not manifest.path.exists():
        return
    with open(manifest.path, "rb") as report:
        for dataset, name in planned:
            record = manifest.get(name)
            if record is not None and record.run == manifest.run and record.output is not None:
                report.seek(record.offset)
                line = json.loads(report.readline())
                yield dataset, read_edit(line["labels"]), line
