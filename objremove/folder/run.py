"""One folder run: what is left of a plan goes through the pipeline, results and report are written as they come."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from objremove import pipeline
from objremove.errors import PhotoError, UsageError
from objremove.folder.files import discard, extras, link
from objremove.folder.plan import Plan, collisions
from objremove.photo import write_atomic
from objremove.pipeline import Job, Outcome
from objremove.remover import Remover
from objremove.request import Request
from objremove.result import Result
from objremove.runs.checksums import fingerprint, sums
from objremove.runs.failures import is_full, one_line
from objremove.runs.layout import Item
from objremove.runs.manifest import FAILED, FILES, REMOVED, SKIPPED, UNDONE, UNMATCHED, Manifest
from objremove.runs.tally import Listener, Silence, Tally

Unmatched = Literal["skip", "copy", "link"]


@dataclass(frozen=True)
class Settings:
    """How a run works.

    Attributes:
        format: of all results; None: each photo's own.
        quality: 1..100 for lossy formats; None splices JPEGs.
        unmatched: what becomes of a photo in which nothing was found: it is left out of the output, copied, or hard-linked.
        overwrite: files in the output that no run made may be replaced.
        retry_failed: photos that failed before are tried again.
        limit: so many photos at most; None: all.
        jobs: photos that are worked on at a time; None: as `pipeline.run` chooses.
        unattended: a photo whose files cannot have their names fails alone; else the run is refused before it begins.
    """

    format: str | None = None
    quality: int | None = None
    unmatched: Unmatched = "skip"
    overwrite: bool = False
    retry_failed: bool = False
    limit: int | None = None
    jobs: int | None = None
    unattended: bool = False


def unsettled(plan: Plan, manifest: Manifest, settings: Settings) -> list[Item]:
    """The photos that are left to do, without regard to the limit.

    Raises:
        UsageError: one of them would replace a file that no run made, and the run is not unattended.
    """
    items = [item for item in plan.items if not manifest.is_settled(item, retry_failed=settings.retry_failed)]
    for _, reason in () if settings.unattended else _foreign(items, manifest, settings):
        raise UsageError(reason)
    return items


def _foreign(items: Iterable[Item], manifest: Manifest, settings: Settings) -> Iterator[tuple[Item, str]]:
    """The photos that would replace a file that no run made, or made of another photo."""
    for item in () if settings.overwrite else items:
        own = manifest.files_of(item)
        there = next((path for path in item.files if path not in own and os.path.lexists(path)), None)
        if there is None:
            continue
        record = manifest.get(item.name)
        how = "exists, and no run made it"
        if record is not None and there.relative_to(manifest.output).as_posix() in record.files:
            how = f"was made of {record.path}, not of {item.source}"
        yield item, f"{there} {how}: name another --output, or add --overwrite"


def run(
    remover: Remover,
    request: Request,
    plan: Plan,
    manifest: Manifest,
    settings: Settings,
    *,
    listener: Listener | None = None,
    stop: threading.Event | None = None,
) -> Tally:
    """Do what is left of the plan, write results and report, and answer what became of all of it.

    Args:
        remover: finds and fills.
        request: what shall go.
        plan: the photos.
        manifest: the report, see `objremove.runs.output.opened`.
        settings: how.
        listener: told how it goes.
        stop: when it is set no further photo begins; those in work are finished.

    Raises:
        UsageError: a file that no run made would be replaced; nothing has been written.
        PhotoError: the disk is full; what is done is done.
    """
    return _Run(remover, request, manifest, settings, listener or Silence(), stop or threading.Event()).do(plan)


@dataclass(frozen=True)
class _Turn:
    """A photo whose turn has come.

    Attributes:
        item: the photo.
        state: how it looked then; None where it was not there.
        earlier: what earlier runs wrote for it.
        written: the files that have been written in this turn.
    """

    item: Item
    state: Mapping[str, Any] | None
    earlier: frozenset[Path] = frozenset()
    written: list[Path] = field(default_factory=list)

    @property
    def own(self) -> list[Path]:
        """What may be deleted: no file that someone else made, not even one that may be replaced."""
        return sorted({*self.earlier, *self.written})


class _Run:
    def __init__(
        self,
        remover: Remover,
        request: Request,
        manifest: Manifest,
        settings: Settings,
        listener: Listener,
        stop: threading.Event,
    ) -> None:
        self._remover, self._request, self._manifest, self._settings = remover, request, manifest, settings
        self._listener, self._stop = listener, stop
        self._tally = Tally()
        self._full: Exception | None = None
        self._unsaid: set[Item] = set()  # photos that were refused, and of whose names the report speaks otherwise

    def do(self, plan: Plan) -> Tally:
        started = time.perf_counter()
        items = unsettled(plan, self._manifest, self._settings)
        barred = self._barred(plan, items)
        todo = [item for item in items if item not in barred][: self._settings.limit]
        for skipped in plan.skipped:
            known = self._manifest.get(skipped.name)
            if known is None or (known.status, known.reason) != (SKIPPED, skipped.reason):
                self._listener.line(self._manifest.append(skipped.name, SKIPPED, {"reason": skipped.reason}))
        self._listener.begins(len(todo) + len(barred), len(plan.items) - len(items))
        for item, reason in barred.items():
            self._tell(self._refused(item, UsageError(reason)))
        for outcome in pipeline.run(self._remover, self._jobs(todo), self._finish, workers=self._settings.jobs):
            self._take(outcome)
        if self._full is not None:
            raise PhotoError(f"the disk is full ({self._full}): make room, and the same command goes on")
        return self._counted(plan, time.perf_counter() - started)

    def _barred(self, plan: Plan, items: list[Item]) -> dict[Item, str]:
        """In an unattended run, those of the items whose files cannot have their names, and why."""
        if not (self._settings.unattended and items):
            return {}
        # a result keeps its name
        by_right = sorted(plan.items, key=lambda item: item.target not in self._manifest.files_of(item))
        barred = {**dict(_foreign(items, self._manifest, self._settings)), **dict(collisions(by_right))}
        return {item: barred[item] for item in items if item in barred}

    def _jobs(self, items: list[Item]) -> Iterator[Job]:
        for item in items:
            if self._stop.is_set() or self._full is not None:
                return
            turn = _Turn(item, fingerprint(item.source, digest=False), self._manifest.files_of(item))
            yield Job(turn, item.source, self._request)

    def _counted(self, plan: Plan, seconds: float) -> Tally:
        manifest, tally = self._manifest, self._tally
        for item in plan.items:
            record = manifest.get(item.name)
            if item in self._unsaid:
                tally.files[FAILED] += 1
            elif record is not None and record.run == manifest.run:
                tally.files[record.status] += 1
            else:
                tally.left += 1
        tally.files[SKIPPED] += len(plan.skipped)
        tally.seconds = seconds
        return tally

    # ------------------------------------------------------------------ in the workers

    def _finish(self, job: Job, result: Result) -> dict[str, Any]:
        """Encode; write the line, then the files: see `objremove.runs.manifest`."""
        turn: _Turn = job.key
        item, unmatched = turn.item, self._settings.unmatched
        source = fingerprint(item.source)
        if source is None or turn.state is None or {**turn.state, "sha256": source["sha256"]} != source:
            raise PhotoError(f"{item.source}: was changed while it was read: run again")
        fields = {"source": _known(item, source), "output": None, FILES: [], **result.to_dict()}
        if not result.changed and unmatched == "skip":
            discard(turn.own)
            return self._manifest.append(item.name, UNMATCHED, fields)
        item.target.parent.mkdir(parents=True, exist_ok=True)
        place = item.target.relative_to(self._manifest.output).as_posix()
        if not result.changed and unmatched == "link":
            fields["output"] = {"path": place, "size": source["size"], "sha256": source["sha256"]}
            return self._link(turn, {**fields, FILES: [place]})
        return self._write(turn, result, place, fields)

    def _link(self, turn: _Turn, fields: Mapping[str, Any]) -> dict[str, Any]:
        item = turn.item
        discard(path for path in turn.own if path != item.target)
        line = self._manifest.append(item.name, UNMATCHED, fields)
        link(item)
        turn.written.append(item.target)
        return line

    def _write(self, turn: _Turn, result: Result, place: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        item, settings = turn.item, self._settings
        data, warnings = result.encode(format=settings.format, quality=settings.quality)
        files = {**extras(item, result), item.target: data}
        said = {
            "warnings": [*result.warnings, *warnings],
            "output": {"path": place, **sums(data)},
            FILES: sorted(path.relative_to(self._manifest.output).as_posix() for path in files),
        }
        discard(path for path in turn.own if path not in files)  # first: no line would speak of them any more
        line = self._manifest.append(item.name, REMOVED if result.changed else UNMATCHED, {**fields, **said})
        for path, content in files.items():
            write_atomic(path, content)
            turn.written.append(path)
        return line

    # ------------------------------------------------------------------ as outcomes come

    def _take(self, outcome: Outcome[dict[str, Any]]) -> None:
        turn: _Turn = outcome.job.key
        if outcome.value is not None:
            self._tell(outcome.value)
        elif is_full(outcome.failure):
            self._full = outcome.failure
            with suppress(PhotoError):  # where there is no room for this either, the missing result says the same
                discard(turn.own)
                self._manifest.append(turn.item.name, UNDONE, {})
        else:
            self._tell(self._failed(turn, outcome.failure))

    def _tell(self, line: Mapping[str, Any]) -> None:
        """Count a line, and pass it on."""
        self._tally.count(line)
        self._listener.line(line)

    def _refused(self, item: Item, error: Exception) -> dict[str, Any]:
        """The line of a photo that was not begun; the report keeps what it says of another one whose results have its place."""
        known = self._manifest.get(item.name)
        if known is None or not known.files or self._manifest.files_of(item):
            return self._failed(_Turn(item, fingerprint(item.source, digest=False)), error)
        self._unsaid.add(item)
        self._listener.failed(item, error)
        return {"photo": item.name, "status": FAILED, "run": self._manifest.run, "reason": one_line(error, item.source)}

    def _failed(self, turn: _Turn, error: Exception) -> dict[str, Any]:
        """The line of a photo that failed; what earlier runs made of it is no result of what it is now, and goes."""
        item, reason = turn.item, one_line(error, turn.item.source)
        self._listener.failed(item, error)
        try:
            discard(turn.own)
        except PhotoError as obstacle:
            reason += f"; {obstacle}"
        left = [path.relative_to(self._manifest.output).as_posix() for path in turn.own if os.path.lexists(path)]
        fields = {"reason": reason, "source": _known(item, turn.state), "output": None, FILES: left}
        return self._manifest.append(item.name, FAILED, fields)


def _known(item: Item, state: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the report says of the photo itself; its whole path, for the next run may begin in another folder."""
    return None if state is None else {"path": os.path.abspath(item.source), **state}
