"""Whole datasets through a `Remover`: photos by the pipeline, labels by the surgery, a report that is the memory of the run.

Every photo of the result has a line in `report.jsonl`, as in a folder run (`objremove.folder.manifest`), with what was done to its
labels. Label files and hole masks are written first, then the line, then the photo; what speaks of all photos, COCO's JSON,
the lists of splits and `pairs.jsonl`, is written last, from the lines.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from objremove import pipeline
from objremove.dataset.check import Check, look_again
from objremove.dataset.plan import Dataset, Settings, Skip, Task, tasks_of
from objremove.dataset.retouch import covered, request_for
from objremove.dataset.sample import Annotation, Change, Edit, Key, Sample
from objremove.dataset.surgery import operate
from objremove.dataset.vocabulary import for_segmenter
from objremove.errors import ObjRemoveError, PhotoError
from objremove.folder.manifest import FAILED, REMOVED, SKIPPED, UNMATCHED, Manifest, fingerprint
from objremove.folder.plan import Item
from objremove.folder.run import Listener, Silence, Tally, one_line
from objremove.photo import write_atomic
from objremove.pipeline import Job, Outcome
from objremove.remover import Remover
from objremove.result import Result
from objremove.types import Mask

WITH, WITHOUT, HOLES, PAIRS = "with", "without", "holes", "pairs.jsonl"
"""Where the two halves of counterfactual pairs go, the masks of what differs, and their list."""

_ORIENTATION = 0x0112


@dataclass(frozen=True, eq=False)
class _Turn:
    """A photo of the result whose turn has come."""

    dataset: Dataset
    sample: Sample
    task: Task
    item: Item


def run(
    remover: Remover,
    datasets: Sequence[Dataset],
    settings: Settings,
    manifest: Manifest,
    *,
    listener: Listener | None = None,
) -> Tally:
    """Edit datasets into the folder of the manifest, or go on with it, and answer what became of their photos.

    Args:
        remover: finds and fills.
        datasets: one, or the splits of one.
        settings: how.
        manifest: the report, see `objremove.folder.run.opened`.
        listener: told how it goes.

    Raises:
        UsageError: no segmenter knows a class, where one is needed.
        ModelError, DatasetError: nothing can be done at all.
    """
    return _Run(remover, settings, manifest, listener or Silence()).do(datasets)


class _Run:
    def __init__(self, remover: Remover, settings: Settings, manifest: Manifest, listener: Listener) -> None:
        self._remover, self._settings, self._manifest, self._listener = remover, settings, manifest, listener
        self._out = manifest.path.parent
        self._results = self._out / WITHOUT if settings.mode == "counterfactual" else self._out
        needs_segmenter = settings.masks != "annotations" or settings.check
        self._words = for_segmenter(settings.labels) if needs_segmenter else {}
        self._find = tuple(dict.fromkeys(self._words.values())) if settings.masks != "annotations" else ()
        self._planned: list[tuple[Dataset, str]] = []
        self._names: frozenset[str] = frozenset()
        self._tally = Tally()

    def do(self, datasets: Sequence[Dataset]) -> Tally:
        started = time.perf_counter()
        self._remover.prepare(self._find or tuple(self._words.values()))
        self._listener.begins(sum(self._count(dataset) for dataset in datasets), 0)
        for outcome in pipeline.run(self._remover, self._jobs(datasets), self._finish, workers=self._settings.jobs):
            self._take(outcome)
        self._write_indices(datasets)
        for _, name in self._planned:
            record = self._manifest.get(name)
            if record is not None:
                self._tally.files[record.status] += 1
        self._tally.seconds = time.perf_counter() - started
        return self._tally

    def _count(self, dataset: Dataset) -> int:
        return min(len(dataset.names), self._settings.limit or len(dataset.names))

    # ------------------------------------------------------------------ what is to be done

    def _jobs(self, datasets: Sequence[Dataset]) -> Iterator[Job]:
        for dataset in datasets:
            self._names = frozenset(dataset.names)
            for name in dataset.names[: self._settings.limit]:
                try:
                    yield from self._jobs_of(dataset, dataset.load(name))
                except (ObjRemoveError, OSError) as error:
                    source = self._results / dataset.photo_target(name)
                    self._fail(dataset, Item(source, self._line_name(dataset, name), source), error)

    def _jobs_of(self, dataset: Dataset, sample: Sample) -> Iterator[Job]:
        for task in tasks_of(sample, self._settings):
            if isinstance(task, Task) and task.name != sample.name and task.name in self._names:
                raise PhotoError(
                    f"{sample.path}: {task.name} would be a photo made of it, and is one of the dataset's own"
                )
            if isinstance(task, Skip):
                name = self._line_name(dataset, sample.name)
                self._planned.append((dataset, name))
                if not self._was_left_out(name):
                    self._tell(self._manifest.append(name, SKIPPED, {"reason": task.reason}))
                continue
            item = Item(
                sample.path, self._line_name(dataset, task.name), self._results / dataset.photo_target(task.name)
            )
            self._planned.append((dataset, item.name))
            if self._is_settled(item):
                continue
            if not task.edited:
                self._tell(self._pass_on(_Turn(dataset, sample, task, item)))
                continue
            size, turned = _look(sample.path)
            if turned:
                reason = "its EXIF orientation turns it, and labels may mean either way up"
                self._tell(self._manifest.append(item.name, SKIPPED, {"reason": reason}))
            elif sample.size not in (None, size):
                raise PhotoError(f"{sample.path}: is {size[1]}x{size[0]}, and its labels are for another size")
            else:
                request = request_for(self._known(sample), task.gone, size, find=self._find)
                yield Job(_Turn(dataset, replace(sample, size=size), task, item), sample.path, request)

    def _known(self, sample: Sample) -> list[Annotation]:
        """The annotations that say where objects are; of the classes that go, a segmenter may be asked instead."""
        if self._settings.masks != "segmenter":
            return list(sample.annotations)
        return [one for one in sample.annotations if one.label not in self._settings.labels]

    def _line_name(self, dataset: Dataset, name: str) -> str:
        return (self._results / dataset.photo_target(name)).relative_to(self._out).as_posix()

    def _is_settled(self, item: Item) -> bool:
        return self._was_left_out(item.name) or self._manifest.is_settled(item, retry_failed=True)

    def _was_left_out(self, name: str) -> bool:
        record = self._manifest.get(name)
        return record is not None and record.status == SKIPPED and record.run == self._manifest.run

    # ------------------------------------------------------------------ photos

    def _pass_on(self, turn: _Turn) -> dict[str, Any]:
        """A photo that is not edited, with the labels that it has."""
        turn.dataset.write_photo_labels(Edit(turn.sample.name, turn.task.name), self._results)
        source = fingerprint(turn.item.source)
        if source is None:
            raise PhotoError(f"{turn.item.source}: is not there")
        output = {"path": turn.item.name, "size": source["size"], "sha256": source["sha256"]}
        fields = {
            "source": {"path": str(turn.item.source), **source},
            "output": output,
            "labels": _labels(Edit(turn.sample.name, turn.task.name)),
        }
        line = self._manifest.append(turn.item.name, UNMATCHED, fields)
        _place(turn.item.source, turn.item.target, link=self._settings.untouched != "copy")
        return line

    def _finish(self, job: Job, result: Result) -> dict[str, Any]:
        """In a worker: look again, cut the labels, write them, the line and the photo."""
        turn: _Turn = job.key
        sample, settings = turn.sample, self._settings
        named = [one for one in sample.annotations if one.label in settings.labels]
        if not result.changed:
            if settings.untouched != "omit" and not named:
                return self._pass_on(turn)
            return self._leave_out(turn, "nothing of the classes was found in it")
        if (share := float(result.mask.mean())) > settings.max_hole:
            return self._leave_out(
                turn, f"{share:.0%} of it would be filled, and --max-hole is {settings.max_hole:.0%}"
            )
        gone = turn.task.gone | (covered(named, result.mask) if settings.masks != "annotations" else frozenset())
        result, check = self._checked(sample, gone, result)
        surgery = operate(sample.annotations, result.mask, gone, min_visible=settings.min_visible)
        edit = Edit(sample.name, turn.task.name, gone | surgery.dropped, surgery.changed)
        left = [one.key for one in named if one.key not in edit.removed]
        if settings.mode == "negatives" and (left or (check is not None and not check.passed)):
            return self._leave_out(turn, "some of the class is left in it")
        data, warnings = result.encode()
        fields = {
            "source": {"path": str(sample.path), **(fingerprint(sample.path) or {})},
            "output": {"path": turn.item.name, **_sums(data)},
            **result.to_dict(),
            "warnings": [*result.warnings, *warnings],
            "seed": settings.seed,
            "labels": _labels(edit),
            "neighbours": [one.to_dict() for one in surgery.neighbours],
            "left": [] if settings.per_instance else left,
            "check": None if check is None else check.to_dict(),
        }
        self._write_labels(turn, edit, result.mask)
        line = self._manifest.append(turn.item.name, REMOVED, fields)
        turn.item.target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(turn.item.target, data)
        return line

    def _checked(self, sample: Sample, gone: frozenset[Key], result: Result) -> tuple[Result, Check | None]:
        """The result after the segmenter has looked at it, where it was asked to."""
        if not self._settings.check:
            return result, None
        staying = (one.instance(result.photo.size) for one in sample.annotations if one.key not in gone)
        went = {self._words[one.label] for one in sample.annotations if one.key in gone and one.label in self._words}
        words = sorted(went or set(self._words.values()))
        rounds = self._settings.check
        return look_again(self._remover, result, [one for one in staying if one], words, rounds=rounds)

    def _write_labels(self, turn: _Turn, edit: Edit, hole: Mask) -> None:
        turn.dataset.write_photo_labels(edit, self._results, hole)
        if self._settings.mode == "counterfactual":
            turn.dataset.write_photo_labels(Edit(edit.source, edit.source), self._out / WITH)
            _place(turn.sample.path, self._out / WITH / turn.dataset.photo_target(edit.source), link=True)
            path = self._out / _hole_of(turn.dataset, edit)
            path.parent.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            Image.fromarray(hole).save(buffer, "PNG")
            write_atomic(path, buffer.getvalue())

    def _leave_out(self, turn: _Turn, reason: str) -> dict[str, Any]:
        return self._manifest.append(turn.item.name, SKIPPED, {"reason": reason})

    # ------------------------------------------------------------------ the report

    def _tell(self, line: Mapping[str, Any]) -> None:
        """Count a line, and pass it on; in the thread that reads the outcomes."""
        self._tally.now[line["status"]] += 1
        self._tally.labels.update(one["label"] for one in line.get("removed", ()))
        self._listener.line(line)

    def _take(self, outcome: Outcome[dict[str, Any]]) -> None:
        if outcome.value is None:
            self._fail(None, outcome.job.key.item, outcome.failure)
        else:
            self._tell(outcome.value)

    def _fail(self, dataset: Dataset | None, item: Item, error: Exception) -> None:
        if dataset is not None and (dataset, item.name) not in self._planned[-1:]:
            self._planned.append((dataset, item.name))
        self._listener.failed(item, error)
        fields = {"reason": one_line(error, item.source), "source": None, "output": None}
        self._tell(self._manifest.append(item.name, FAILED, fields))

    # ------------------------------------------------------------------ what speaks of all photos

    def _write_indices(self, datasets: Sequence[Dataset]) -> None:
        for dataset in datasets:
            edits = [edit for of, edit, _ in self._done() if of is dataset]
            dataset.finish(edits, self._results)
            if self._settings.mode == "counterfactual":
                dataset.finish(
                    [Edit(name, name) for name in dict.fromkeys(edit.source for edit in edits)], self._out / WITH
                )
        if self._settings.mode == "counterfactual":
            rows = (
                json.dumps(self._pair(dataset, edit, line), ensure_ascii=False) for dataset, edit, line in self._done()
            )
            write_atomic(self._out / PAIRS, "".join(f"{row}\n" for row in rows).encode())

    def _pair(self, dataset: Dataset, edit: Edit, line: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "with": (Path(WITH) / dataset.photo_target(edit.source)).as_posix(),
            "without": line["photo"],
            "hole": _hole_of(dataset, edit).as_posix(),
            "source": edit.source,
            "removed": line["labels"]["removed"],
            "hole_share": line["hole_share"],
        }

    def _done(self) -> Iterator[tuple[Dataset, Edit, dict[str, Any]]]:
        """The photos of the result with what the report says of them, in the order of the datasets."""
        if not self._manifest.path.exists():
            return
        with open(self._manifest.path, "rb") as report:
            for dataset, name in self._planned:
                record = self._manifest.get(name)
                if record is not None and record.run == self._manifest.run and record.output is not None:
                    report.seek(record.offset)
                    line = json.loads(report.readline())
                    yield dataset, _edit(line["labels"]), line


def _hole_of(dataset: Dataset, edit: Edit) -> Path:
    """Where a hole's mask goes; the photo's own suffix stays, for two photos may differ in nothing else."""
    return Path(HOLES) / f"{dataset.photo_target(edit.name)}.png"


def _labels(edit: Edit) -> dict[str, Any]:
    """An edit as plain data; pairs rather than an object for what changed, for its keys are numbers."""
    return {
        "sample": edit.source,
        "name": edit.name,
        "removed": sorted(edit.removed, key=str),
        "changed": [[key, change.to_dict()] for key, change in edit.changed.items()],
    }


def _edit(data: Mapping[str, Any]) -> Edit:
    changed = {key: Change.from_dict(change) for key, change in data["changed"]}
    return Edit(data["sample"], data["name"], frozenset(data["removed"]), changed)


def _look(path: Path) -> tuple[tuple[int, int], bool]:
    """(H, W) of a photo as it is stored, and whether its EXIF orientation turns it."""
    try:
        with Image.open(path) as image:
            return (image.height, image.width), image.getexif().get(_ORIENTATION, 1) != 1
    except FileNotFoundError:
        raise PhotoError(f"{path}: is not there") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise PhotoError(f"{path}: cannot be read ({error})") from None


def _place(source: Path, target: Path, *, link: bool) -> None:
    """The photo under another name: a hard link where the disk can, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        with suppress(OSError):  # another disk, or one without links
            if not (target.exists() and os.path.samefile(source, target)):
                target.unlink(missing_ok=True)
                os.link(os.path.realpath(source), target)
        if target.exists():
            return
    write_atomic(target, source.read_bytes())


def _sums(data: bytes) -> dict[str, Any]:
    import hashlib

    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
