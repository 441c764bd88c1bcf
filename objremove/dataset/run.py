"""Whole datasets through a `Remover`: photos by the pipeline, labels by the surgery, a report that is the memory of the run.

Every photo of the result has a line in `report.jsonl`, as in every run (`objremove.runs.manifest`), with what was done to its
labels. Label files and hole masks are written first, then the line, then the photo; what speaks of all photos, COCO's JSON,
the lists of splits and `pairs.jsonl`, is written last, from the lines.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from objremove import pipeline
from objremove.dataset.editor import Editor, Turn
from objremove.dataset.indices import write_indices
from objremove.dataset.ledger import checksum_of
from objremove.dataset.plan import Dataset, Settings, Skip, Task, tasks_of
from objremove.dataset.retouch import request_for
from objremove.dataset.sample import Annotation, Sample
from objremove.dataset.vocabulary import for_segmenter
from objremove.errors import PhotoError
from objremove.pipeline import Job, Outcome
from objremove.remover import Remover
from objremove.runs.failures import one_line
from objremove.runs.layout import Item
from objremove.runs.manifest import FAILED, UNDONE, Manifest
from objremove.runs.tally import Listener, Silence, Tally

_ORIENTATION = 0x0112


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
        needs_segmenter = settings.masks != "annotations" or settings.check
        self._words = for_segmenter(settings.labels) if needs_segmenter else {}
        self._find = tuple(dict.fromkeys(self._words.values())) if settings.masks != "annotations" else ()
        self._planned: list[tuple[Dataset, str]] = []
        self._editor = Editor(remover, settings, manifest, self._words)
        self._tally = Tally()

    def do(self, datasets: Sequence[Dataset]) -> Tally:
        started = time.perf_counter()
        self._remover.prepare(self._find or tuple(self._words.values()))
        self._listener.begins(sum(self._count(dataset) for dataset in datasets), 0)
        jobs, workers = self._jobs(datasets), self._settings.jobs
        for outcome in pipeline.run(self._remover, jobs, self._editor.finish, workers=workers):
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
                except Exception as error:  # whatever its labels are, the others go on
                    item = self._plan(dataset, name)
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
                item = self._plan(dataset, sample.name, sample.path)
                turn = Turn(dataset, sample, Task(sample.name, edited=False), item, checksum)
                if not self._editor.was_left_out(turn):
                    self._tell(self._editor.leave_out(turn, task.reason))
                continue
            turn = Turn(dataset, sample, task, self._plan(dataset, task.name, sample.path), checksum)
            if self._editor.is_settled(turn):
                continue
            try:
                job = self._job(turn, look=is_edited)
            except Exception as error:
                self._fail(turn.item, error)
                continue
            if job is not None:
                yield job

    def _job(self, turn: Turn, *, look: bool) -> Job | None:
        """What the pipeline is to do for a photo; None where it is done with already.

        `look`: it, or another photo that is made of the same one, is edited, so its labels must fit what is stored.
        """
        if not look:
            self._tell(self._editor.pass_on(turn))
            return None
        sample = turn.sample
        size, turned = _look(sample.path)
        if turned:
            reason = "its EXIF orientation turns it, and labels may mean either way up"
            self._tell(self._editor.leave_out(turn, reason))
            return None
        if sample.size not in (None, size):
            raise PhotoError(f"{sample.path}: is {size[1]}x{size[0]}, and its labels are for another size")
        if not turn.task.edited:
            self._tell(self._editor.pass_on(turn))
            return None
        request = request_for(self._known(sample), turn.task.gone, size, find=self._find)
        return Job(replace(turn, sample=replace(sample, size=size)), sample.path, request)

    def _known(self, sample: Sample) -> list[Annotation]:
        """The annotations that say where objects are; of the classes that go, a segmenter may be asked instead."""
        if self._settings.masks != "segmenter":
            return list(sample.annotations)
        return [one for one in sample.annotations if one.label not in self._settings.labels]

    def _plan(self, dataset: Dataset, name: str, source: Path | None = None) -> Item:
        """A photo of the result, which the indices will ask for."""
        item = self._editor.item(dataset, name, source)
        self._planned.append((dataset, item.name))
        return item

    # ------------------------------------------------------------------ the report

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
        self._tell(self._editor.say(item.name, FAILED, fields))

    def _clear_away(self) -> None:
        """What earlier runs made and this one did not, of photos that it was to look at, is no part of the result."""
        planned = {name for _, name in self._planned}
        for name in self._editor.ledger.photos:
            record = self._manifest.get(name)
            is_other = record is None or record.run != self._manifest.run
            if is_other or (self._settings.limit is None and name not in planned):
                self._editor.say(name, UNDONE, {})


def _look(path: Path) -> tuple[tuple[int, int], bool]:
    """(H, W) of a photo as it is stored, and whether its EXIF orientation turns it."""
    try:
        with Image.open(path) as image:
            return (image.height, image.width), image.getexif().get(_ORIENTATION, 1) != 1
    except FileNotFoundError:
        raise PhotoError(f"{path}: is not there") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise PhotoError(f"{path}: cannot be read ({error})") from None
