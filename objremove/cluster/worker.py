"""What runs on the cluster: a class for `map_batches` that holds one `Remover`, and does one unit of work after another.

Within a unit the photos go through `objremove.pipeline`, so that reading, finding, filling and writing overlap. A worker that dies takes
nothing with it but the photos that no part covers yet: Ray starts another, which leaves out what is covered. A photo that kills its
worker (a decoder's crash, memory) would do so for ever: after `CALM` deaths the unit is done photo by photo, each written down before it
is begun, and one that two workers began with and none ended is a failed photo like others. A new driver begins to count anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from objremove import pipeline
from objremove.cluster.ledger import Covered, Ledger
from objremove.cluster.sources import Entry, File, Unit, entries
from objremove.cluster.storage import Folder
from objremove.errors import ModelError, ObjRemoveError, PhotoError
from objremove.masks import png_of
from objremove.pipeline import Job
from objremove.remover import Remover
from objremove.request import Request
from objremove.runs.checksums import sums
from objremove.runs.failures import is_full, one_line
from objremove.runs.layout import Layout
from objremove.runs.manifest import FAILED, REMOVED, UNMATCHED

if TYPE_CHECKING:
    from objremove.result import Result

CALM = 2
"""So often a unit is tried as usual."""

_EXTENSIONS = {"JPEG": ".jpg", "TIFF": ".tif", "HEIF": ".heic"}


@dataclass(frozen=True)
class Task:
    """All that a worker needs to know; plain data that travels to each.

    Attributes:
        remover: arguments of `Remover`.
        request: fields of `Request`.
        models: what `Remover.prepare` answered on the driver: the same weights must be here.
        output: URL of the output folder.
        run: by which options, see `ledger.begin`.
        batch: photos that are written down together.
        threads: processor threads.
        format: of all results; None: each photo's own.
        quality: 1..100 for lossy formats; None splices JPEGs.
        save_mask: a mask beside each result, as .mask.png.
        unmatched: photos in which nothing was found are left out of the output, or copied.
        image_column: of the pictures in Parquet files; None: the only one that can be.
        environment: set before the models are loaded.
    """

    remover: Mapping[str, Any]
    request: Mapping[str, Any]
    models: Mapping[str, tuple[str, str | None]]
    output: str
    run: str = ""
    batch: int = 32
    threads: int = 1
    format: str | None = None
    quality: int | None = None
    save_mask: bool = False
    unmatched: Literal["skip", "copy"] = "skip"
    image_column: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        """Where results go, within the output."""
        return Layout(Path(), f".{self.format.lower().lstrip('.')}" if self.format else None, self.save_mask)


class Worker:
    """Does units of work, one at a time.

    What is wrong with this machine is told in the news: an exception here would have Ray try again and again.

    Args:
        task: what is to be done with each photo.
    """

    def __init__(self, task: Task) -> None:
        os.environ.update(task.environment)
        self.task = task
        self.request = Request(**task.request)
        self.error = ""
        try:
            self.ledger = Ledger(Folder(task.output), task.run)
            self._prepare()
        except ObjRemoveError as error:
            self.error = f"{platform.node()}: {error}"

    def _prepare(self) -> None:
        """Load the models; raises ModelError where they are not the driver's."""
        task = self.task
        self.remover = Remover(**{**task.remover, "offline": True, "threads": task.threads})
        named = {name: task.request.get(name, ()) for name in ("remove", "keep", "points", "boxes")}
        here = self.remover.prepare(**named)
        if here != dict(task.models):
            raise ModelError(
                f"the models are not those of the driver ({here}, not {dict(task.models)}): put the same files on every machine "
                "(OBJREMOVE_HOME on a shared disk, or 'objremove models pull' in the machines' image)"
            )

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[Any]]]:
        """Do the units of a batch, `unit` in JSON; what is answered is news for the driver, and as much of it whoever did the rest."""
        for text in batch["unit"]:
            unit = decoded(str(text))
            try:
                for news in () if self.error else self.work(unit):
                    yield {**_columns(news), "error": [""]}
            except ObjRemoveError as error:
                self.error = str(error)
            if self.error:
                yield {**_columns({"unit": unit.id, "settled": 0, "failed": "[]"}), "error": [self.error]}

    def work(self, unit: Unit) -> Iterator[dict[str, Any]]:
        """Do a unit; one piece of news, how many of its photos are settled and which failed, for each `batch` photos of it.

        Ray counts the news when it repeats a task, so their number must not depend on what others have done of the unit.
        """
        covered = self.ledger.covered(unit.id)
        self.ledger.begins(unit.id, covered.tries)
        turn, told, batch = _Turn(self, unit, covered, alone=covered.tries >= CALM), 0, self.task.batch
        for _ in turn.outcomes():
            while (told + 1) * batch < turn.read:
                told += 1
                yield turn.news()
        turn.close()
        while told * batch < turn.read:
            told += 1
            yield turn.news()
        self.ledger.tidy(unit.id)

    # ------------------------------------------------------------------ one photo

    def finish(self, entry: Entry, result: Result) -> dict[str, Any]:
        """Encode and write a result; the photo's line."""
        assert entry.data is not None
        source = {**entry.source, "sha256": hashlib.sha256(entry.data).hexdigest()}
        status = REMOVED if result.changed else UNMATCHED
        line = {"photo": entry.name, "status": status, "run": self.task.run, "source": source, "output": None}
        line |= result.to_dict()
        if not result.changed and self.task.unmatched == "skip":
            return line
        data, warnings = result.encode(format=self.task.format, quality=self.task.quality)
        item = self.task.layout.item(Path(entry.name), entry.name)
        target = item.target.as_posix()
        if not item.target.suffix:  # a row of a table has no name of its own
            kind = result.photo.format or "PNG"
            target += _EXTENSIONS.get(kind, f".{kind.lower()}")
        output = {"path": target, **sums(data)}
        if item.mask is not None and result.changed:
            output["mask"] = item.mask.as_posix()
            self.ledger.output.put(item.mask.as_posix(), png_of(result.mask))
        self.ledger.output.put(target, data)
        return {**line, "output": output, "warnings": [*result.warnings, *warnings]}

    def failed(self, entry: Entry, error: Exception) -> dict[str, Any]:
        """The line of a photo that failed.

        Raises:
            PhotoError: the disk is full: that is not the photo's fault, and ends the run.
        """
        if is_full(error):
            raise PhotoError(
                f"{self.task.output}: the disk is full: make room, and the same command goes on"
            ) from error
        reason = one_line(error, Path("input"))
        fields = {"photo": entry.name, "status": FAILED, "run": self.task.run, "reason": reason}
        return {**fields, "source": entry.source, "output": None}


class _Turn:
    """One try at a unit: its photos on their way, and their lines until a part of them is whole.

    Attributes:
        read: how many photos of the unit have been come by.
    """

    def __init__(self, worker: Worker, unit: Unit, covered: Covered, *, alone: bool) -> None:
        self._worker, self._unit, self._covered, self._alone = worker, unit, covered, alone
        self._size = 1 if alone else worker.task.batch
        self._lines: dict[int, dict[str, Any]] = {}
        self._in_work: set[int] = set()
        self._failed: list[tuple[str, str]] = []
        self._settled = covered.count
        self._ended = False
        self.read = 0

    def outcomes(self) -> Iterator[None]:
        """Take the photos through the pipeline; comes back after each."""
        workers, ahead = (1, 1) if self._alone else (self._worker.task.threads, None)
        run = pipeline.run(self._worker.remover, self._jobs(), self._finish, workers=workers, ahead=ahead)
        for outcome in run:
            number, entry = outcome.job.key
            self._in_work.remove(number)
            self._add(number, outcome.value or self._worker.failed(entry, outcome.failure))
            yield

    def close(self) -> None:
        """Write down the last part, and, of a shard that was read to its end, where that is."""
        self._publish(last=True)
        if self._ended and self._unit.kind != "photos":
            self._worker.ledger.ends(self._unit.id, self.read)

    def news(self) -> dict[str, Any]:
        """How many photos of the unit are settled by now, and which failed since this was asked last."""
        failed, self._failed = self._failed, []
        return {"unit": self._unit.id, "settled": self._settled, "failed": json.dumps(failed)}

    # ------------------------------------------------------------------ the photos

    def _wanted(self, number: int) -> bool:
        inside = self._unit.stop is None or number < self._unit.stop
        return inside and number not in self._covered.numbers and not (self._alone and number in self._covered.suspects)

    def _jobs(self) -> Iterator[Job]:
        written: set[Path] = set()
        for number, entry in enumerate(entries(self._unit, self._worker.task.image_column, self._wanted)):
            if number == self._unit.stop:
                return
            self.read = number + 1
            files = self._worker.task.layout.item(Path(entry.name), entry.name).files
            if not written.isdisjoint(files):
                error = PhotoError("another photo of its shard would write the same file")
                entry = replace(entry, name=f"{entry.name}#{number}", error=error)
            written.update(files)
            if number in self._covered.numbers:
                continue
            if entry.error is None and self._wanted(number):
                self._in_work.add(number)
                if self._alone:
                    self._worker.ledger.comes_to(self._unit.id, number, self._covered.tries)
                yield Job((number, entry), entry.data, self._worker.request)
            else:
                reason = entry.error or PhotoError("two workers died when they came to this photo alone")
                self._add(number, self._worker.failed(entry, reason))
        self._ended = True

    def _finish(self, job: Job, result: Result) -> dict[str, Any]:
        return self._worker.finish(job.key[1], result)

    # ------------------------------------------------------------------ their lines

    def _add(self, number: int, line: dict[str, Any]) -> None:
        self._lines[number] = line
        if line["status"] == FAILED:
            self._failed.append((line["photo"], line["reason"]))
        self._publish()

    def _publish(self, *, last: bool = False) -> None:
        """Write down the lines of each stretch of `size` photos that have all been come by and done."""
        busy = {number // self._size for number in self._in_work}
        if not last:
            busy.add(self.read // self._size)
        ready = sorted(number for number in self._lines if number // self._size not in busy)
        for _, together in groupby(enumerate(ready), lambda pair: (pair[1] // self._size, pair[1] - pair[0])):
            numbers = [number for _, number in together]
            lines = [self._lines.pop(number) for number in numbers]
            self._worker.ledger.publish(self._unit.id, numbers[0], numbers[-1] + 1, lines)
            self._settled += len(lines)


def _columns(news: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {name: [value] for name, value in news.items()}


def encoded(unit: Unit) -> str:
    """A unit as text: what Ray carries."""
    return json.dumps(asdict(unit))


def decoded(text: str) -> Unit:
    """The unit that `encoded` made a text of."""
    fields = json.loads(text)
    return Unit(**{**fields, "files": tuple(File(**file) for file in fields["files"])})
