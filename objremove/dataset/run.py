"""Whole datasets through a `Remover`: photos by the pipeline, labels by the surgery, a report that is the memory of the run.

Every photo of the result has a line in `report.jsonl`, as in every run (`objremove.runs.manifest`), with what was done to its
labels. Label files and hole masks are written first, then the line, then the photo; what speaks of all photos, COCO's JSON,
the lists of splits and `pairs.jsonl`, is written last, from the lines.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from objremove import pipeline
from objremove.dataset.check import Check, look_again
from objremove.dataset.indices import WITH, WITHOUT, hole_of, write_indices
from objremove.dataset.ledger import Ledger, checksum_of, plain_edit
from objremove.dataset.plan import Dataset, Settings, Skip, Task, tasks_of
from objremove.dataset.retouch import covered, request_for, unfilled
from objremove.dataset.sample import Annotation, Edit, Key, Sample
from objremove.dataset.surgery import operate
from objremove.dataset.vocabulary import for_segmenter
from objremove.errors import ObjRemoveError, PhotoError
from objremove.masks import png_of
from objremove.photo import write_atomic
from objremove.pipeline import Job, Outcome
from objremove.remover import Remover
from objremove.result import Result
from objremove.runs.checksums import fingerprint, sums
from objremove.runs.failures import one_line
from objremove.runs.layout import Item
from objremove.runs.manifest import FAILED, REMOVED, SKIPPED, UNDONE, UNMATCHED, Manifest
from objremove.runs.tally import Listener, Silence, Tally
from objremove.types import Mask

_ORIENTATION = 0x0112


@dataclass(frozen=True, eq=False)
class _Turn:
    """A photo of the result whose turn has come."""

    dataset: Dataset
    sample: Sample
    task: Task
    item: Item
    checksum: str | None  # of its label files


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
        manifest: the report, see `objremove.runs.output.opened`.
        listener: told how it goes.

    Raises:
        UsageError: no segmenter knows a class, where one is needed.
        ModelError, DatasetError: nothing can be done at all.
    """
    return _Run(remover, settings, manifest, listener or Silence()).do(datasets)


class _Run:
    def __init__(self, remover: Remover, settings: Settings, manifest: Manifest, listener: Listener) -> None:
        self._remover, self._settings, self._manifest, self._listener = remover, settings, manifest, listener
        self._out = manifest.output
        self._results = self._out / WITHOUT if settings.mode == "counterfactual" else self._out
        needs_segmenter = settings.masks != "annotations" or settings.check
        self._words = for_segmenter(settings.labels) if needs_segmenter else {}
        self._find = tuple(dict.fromkeys(self._words.values())) if settings.masks != "annotations" else ()
        self._planned: list[tuple[Dataset, str]] = []
        self._ledger = Ledger(manifest)
        self._tally = Tally()

    def do(self, datasets: Sequence[Dataset]) -> Tally:
        started = time.perf_counter()
        self._remover.prepare(self._find or tuple(self._words.values()))
        self._listener.begins(sum(self._count(dataset) for dataset in datasets), 0)
        for outcome in pipeline.run(self._remover, self._jobs(datasets), self._finish, workers=self._settings.jobs):
            self._take(outcome)
        self._clear_away()
        paired = self._settings.mode == "counterfactual"
        write_indices(self._manifest, datasets, self._planned, paired=paired)
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
            own = frozenset(dataset.names)
            for name in dataset.names[: self._settings.limit]:
                try:
                    sample = dataset.load(name)
                    tasks = self._tasks(sample, own)
                    checksum = checksum_of(sample.files)
                except (ObjRemoveError, OSError) as error:
                    item = self._plan(dataset, self._results / dataset.photo_target(name), name)
                    self._fail(item, error)
                else:
                    yield from self._jobs_of(dataset, sample, tasks, checksum)

    def _tasks(self, sample: Sample, own: frozenset[str]) -> list[Task | Skip]:
        """What the sample becomes; raises PhotoError where a photo made of it would replace one of the dataset's own."""
        tasks = list(tasks_of(sample, self._settings))
        for task in tasks:
            if isinstance(task, Task) and task.name != sample.name and task.name in own:
                raise PhotoError(
                    f"{sample.path}: {task.name} would be a photo made of it, and is one of the dataset's own"
                )
        return tasks

    def _jobs_of(
        self, dataset: Dataset, sample: Sample, tasks: Sequence[Task | Skip], checksum: str | None
    ) -> Iterator[Job]:
        is_edited = any(isinstance(task, Task) and task.edited for task in tasks)
        for task in tasks:
            if isinstance(task, Skip):
                item = self._plan(dataset, sample.path, sample.name)
                turn = _Turn(dataset, sample, Task(sample.name, edited=False), item, checksum)
                if not self._was_left_out(turn):
                    self._tell(self._leave_out(turn, task.reason))
                continue
            turn = _Turn(dataset, sample, task, self._plan(dataset, sample.path, task.name), checksum)
            if self._is_settled(turn):
                continue
            try:
                job = self._job(turn, look=is_edited)
            except (ObjRemoveError, OSError) as error:
                self._fail(turn.item, error)
                continue
            if job is not None:
                yield job

    def _job(self, turn: _Turn, *, look: bool) -> Job | None:
        """What the pipeline is to do for a photo; None where it is done with already.

        `look`: it, or another photo that is made of the same one, is edited, so its labels must fit what is stored.
        """
        if not look:
            self._tell(self._pass_on(turn))
            return None
        sample = turn.sample
        size, turned = _look(sample.path)
        if turned:
            reason = "its EXIF orientation turns it, and labels may mean either way up"
            self._tell(self._leave_out(turn, reason))
            return None
        if sample.size not in (None, size):
            raise PhotoError(f"{sample.path}: is {size[1]}x{size[0]}, and its labels are for another size")
        if not turn.task.edited:
            self._tell(self._pass_on(turn))
            return None
        request = request_for(self._known(sample), turn.task.gone, size, find=self._find)
        return Job(replace(turn, sample=replace(sample, size=size)), sample.path, request)

    def _known(self, sample: Sample) -> list[Annotation]:
        """The annotations that say where objects are; of the classes that go, a segmenter may be asked instead."""
        if self._settings.masks != "segmenter":
            return list(sample.annotations)
        return [one for one in sample.annotations if one.label not in self._settings.labels]

    def _plan(self, dataset: Dataset, source: Path, name: str) -> Item:
        """A photo of the result, which the indices will ask for."""
        target = self._results / dataset.photo_target(name)
        item = Item(source, target.relative_to(self._out).as_posix(), target)
        self._planned.append((dataset, item.name))
        return item

    def _is_settled(self, turn: _Turn) -> bool:
        is_known = self._ledger.is_labelled_as_before(turn.item.name, turn.checksum)
        return self._was_left_out(turn) or (is_known and self._manifest.is_settled(turn.item, retry_failed=True))

    def _was_left_out(self, turn: _Turn) -> bool:
        record = self._manifest.get(turn.item.name)
        is_known = self._ledger.is_labelled_as_before(turn.item.name, turn.checksum)
        return is_known and record is not None and record.status == SKIPPED and record.run == self._manifest.run

    # ------------------------------------------------------------------ photos

    def _pass_on(self, turn: _Turn) -> dict[str, Any]:
        """A photo that is not edited, with the labels that it has."""
        edit = Edit(turn.sample.name, turn.task.name)
        source = fingerprint(turn.item.source)
        if source is None:
            raise PhotoError(f"{turn.item.source}: is not there")
        files = [*turn.dataset.write_photo_labels(edit, self._results), turn.item.target]
        output = {"path": turn.item.name, "size": source["size"], "sha256": source["sha256"]}
        fields = {
            "source": {"path": str(turn.item.source), **source},
            "output": output,
            "labels": plain_edit(edit),
        }
        line = self._say(turn.item.name, UNMATCHED, fields, files, turn.checksum)
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
        if reason := self._too_large(result.mask):
            return self._leave_out(turn, reason)
        gone = turn.task.gone | (covered(named, result.mask) if settings.masks != "annotations" else frozenset())
        if still := unfilled(sample.annotations, gone, result.mask):
            return self._leave_out(
                turn, f"nothing could be filled of annotation {still[0]}, whose outline and box show no object"
            )
        result, check = self._checked(sample, gone, result)
        if reason := self._too_large(result.mask):  # the hole has grown
            return self._leave_out(turn, reason)
        surgery = operate(sample.annotations, result.mask, gone, min_visible=settings.min_visible)
        edit = Edit(sample.name, turn.task.name, gone | surgery.dropped, surgery.changed)
        left = [one.key for one in named if one.key not in edit.removed]
        if settings.mode == "negatives" and (left or (check is not None and not check.passed)):
            return self._leave_out(turn, "some of the class is left in it")
        data, warnings = result.encode()
        fields = {
            "source": {"path": str(sample.path), **(fingerprint(sample.path) or {})},
            "output": {"path": turn.item.name, **sums(data)},
            **result.to_dict(),
            "warnings": [*result.warnings, *warnings],
            "seed": settings.seed,
            "labels": plain_edit(edit),
            "neighbours": [one.to_dict() for one in surgery.neighbours],
            "left": [] if settings.per_instance else left,
            "check": None if check is None else check.to_dict(),
        }
        files = [*self._write_labels(turn, edit, result.mask), turn.item.target]
        line = self._say(turn.item.name, REMOVED, fields, files, turn.checksum)
        turn.item.target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(turn.item.target, data)
        return line

    def _too_large(self, hole: Mask) -> str | None:
        share, most = float(hole.mean()), self._settings.max_hole
        return f"{share:.1%} of it would be filled, and --max-hole is {most:.1%}" if share > most else None

    def _checked(self, sample: Sample, gone: frozenset[Key], result: Result) -> tuple[Result, Check | None]:
        """The result after the segmenter has looked at it, where it was asked to."""
        if not self._settings.check:
            return result, None
        staying = (one.instance(result.photo.size) for one in sample.annotations if one.key not in gone)
        went = {self._words[one.label] for one in sample.annotations if one.key in gone and one.label in self._words}
        words = sorted(went or set(self._words.values()))
        rounds = self._settings.check
        return look_again(self._remover, result, [one for one in staying if one], words, rounds=rounds)

    def _write_labels(self, turn: _Turn, edit: Edit, hole: Mask) -> list[Path]:
        """Write all of a result but its photo, and answer the files."""
        files = turn.dataset.write_photo_labels(edit, self._results, hole)
        if self._settings.mode == "counterfactual":
            path = self._out / hole_of(turn.dataset, edit)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, png_of(hole, bits=1))
            original = self._out / WITH / turn.dataset.photo_target(edit.source)
            with self._ledger.lock:  # it may be another variant's, too, that is left out just now
                shared = turn.dataset.write_photo_labels(Edit(edit.source, edit.source), self._out / WITH)
                _place(turn.sample.path, original, link=True)
                self._ledger.claim(turn.item.name, [*shared, original])
            files = [*files, path, *shared, original]
        return files

    def _leave_out(self, turn: _Turn, reason: str) -> dict[str, Any]:
        return self._say(turn.item.name, SKIPPED, {"reason": reason}, checksum=turn.checksum)

    # ------------------------------------------------------------------ the report

    def _say(
        self,
        name: str,
        status: str,
        fields: Mapping[str, Any],
        files: Iterable[Path] = (),
        checksum: str | None = None,
    ) -> dict[str, Any]:
        """Write a photo's line; files of an earlier one that it has no longer are deleted first."""
        return self._manifest.append(name, status, {**fields, **self._ledger.settle(name, files, checksum)})

    def _tell(self, line: Mapping[str, Any]) -> None:
        """Count a line, and pass it on; in the thread that reads the outcomes."""
        self._tally.count(line)
        self._listener.line(line)

    def _take(self, outcome: Outcome[dict[str, Any]]) -> None:
        if outcome.value is None:
            self._fail(outcome.job.key.item, outcome.failure)
        else:
            self._tell(outcome.value)

    def _fail(self, item: Item, error: Exception) -> None:
        self._listener.failed(item, error)
        fields = {"reason": one_line(error, item.source), "source": None, "output": None}
        self._tell(self._say(item.name, FAILED, fields))

    def _clear_away(self) -> None:
        """What earlier runs made and this one did not, of photos that it was to look at, is no part of the result."""
        planned = {name for _, name in self._planned}
        for name in self._ledger.photos:
            record = self._manifest.get(name)
            is_other = record is None or record.run != self._manifest.run
            if is_other or (self._settings.limit is None and name not in planned):
                self._say(name, UNDONE, {})


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
