"""Folder runs on the command line: `objremove --remove person photos/ -o clean/`."""

from __future__ import annotations

import glob
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from objremove.cli.console import FAILED, INTERRUPTED, OK, SOME_FAILED, Speaker, stdout_kept_clean
from objremove.cli.output import STANDARD, Output
from objremove.errors import UsageError

if TYPE_CHECKING:
    from objremove.folder.plan import Plan
    from objremove.folder.run import Settings
    from objremove.remover import Remover
    from objremove.runs.layout import Item
    from objremove.runs.tally import Tally

EVERY = 10.0
"""Seconds between two lines on progress where standard error is no terminal."""


@dataclass(frozen=True)
class Folders:
    """What the command line says about folder runs; fields are named as its options are.

    Attributes:
        photos: folders, files and patterns.
    """

    photos: Sequence[str]
    list: str | None
    recursive: bool
    unmatched: Literal["skip", "copy", "link"]
    dry_run: bool
    limit: int | None
    jobs: int | None
    retry_failed: bool
    again: bool
    watch: bool

    @property
    def asked(self) -> bool:
        """Whether this is a folder run, and no list of photos as the shell makes it of `*.jpg`."""
        many = any(os.path.isdir(photo or ".") or _is_pattern(photo) for photo in self.photos)
        return many or self.list is not None

    def check(self, where: Output) -> None:
        """Raise UsageError for options that mean nothing together, a folder without an output, a pattern without a match."""
        only = {
            "--unmatched": self.unmatched != "skip",
            "--dry-run": self.dry_run,
            "--limit": self.limit is not None,
            "--jobs": self.jobs is not None,
            "--retry-failed": self.retry_failed,
            "--again": self.again,
            "--watch": self.watch,
            "--no-recursive": not self.recursive,
        }
        if not self.asked:
            for name, given in only.items():
                if given:
                    raise UsageError(f"{name} is for folders: name a folder, or give the photos with --list")
            return
        named = self.photos[0] or "." if self.photos else f"--list {self.list}"
        if where.to is None and not where.in_place:
            raise UsageError(f"{named} is a folder or list: say where its results shall go, as in --output clean/")
        if where.in_place or where.to == "-" or os.path.isfile(where.to or ""):
            raise UsageError(f"the results of {named} need a folder: give --output one")
        if str(STANDARD) in self.photos:
            raise UsageError("'-' stands for one photo: give no folders with it, or --list - for a list")
        if self.unmatched == "link" and (where.format or where.quality):
            raise UsageError(
                "--unmatched link keeps photos as they are: leave out --format and --quality, or take copy"
            )
        if self.watch and self.dry_run:
            raise UsageError("--dry-run looks once: leave out --watch")
        if self.watch and not any(os.path.isdir(photo) for photo in self.photos):
            raise UsageError("--watch needs a folder to watch")
        for photo in self.photos:
            if _is_pattern(photo) and not any(glob.iglob(photo, recursive=True)):
                raise UsageError(f"{photo}: no file or folder is called like that")

    def plan(self, where: Output) -> Plan:
        """Which photos, and what will be written; errors as of `make_plan`."""
        from objremove.folder.plan import make_plan
        from objremove.runs.layout import Layout

        extension = f".{where.format.lower().lstrip('.')}" if where.format else None
        layout = Layout(Path(where.to or ""), extension, where.save_mask, where.compare)
        return make_plan(self.photos, layout, listed=self._listed(), recursive=self.recursive, watched=self.watch)

    def _listed(self) -> Sequence[str]:
        from objremove.folder.plan import read_list

        if self.list is None:
            return []
        return self._piped if self.list == str(STANDARD) else read_list([_text(Path(self.list))])

    @cached_property
    def _piped(self) -> Sequence[str]:
        """The list on standard input, which can be read only once, however often one looks for photos."""
        from objremove.folder.plan import read_list

        return read_list(sys.stdin)

    def settings(self, where: Output) -> Settings:
        """How the run works."""
        from objremove.folder.run import Settings

        return Settings(
            format=where.format,
            quality=where.quality,
            unmatched=self.unmatched,
            overwrite=where.overwrite,
            retry_failed=self.retry_failed,
            limit=self.limit,
            jobs=self.jobs,
            unattended=self.watch,
        )


def _text(path: Path) -> str:
    """What a list holds; names that are no UTF-8 are names, too."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"--list {path}: {error.strerror or error}") from None


def _is_pattern(photo: str) -> bool:
    return glob.has_magic(photo) and not os.path.lexists(photo)


def show(
    options: Mapping[str, Any], folders: Folders, plan: Plan, where: Output, *, as_json: bool, speaker: Speaker
) -> int:
    """Say what would be done, a line for each file on standard output; no photo is opened, no model loaded, nothing written.

    Args:
        options: all that decides what results look like, but for the models.
        folders: what the command line says.
        plan: the photos.
        where: what the command line says of the output.
        as_json: lines of JSON.
        speaker: says the sum.

    Raises:
        UsageError: the run would be refused, for what it would write or for its options.
    """
    from objremove.folder.run import unsettled
    from objremove.runs.manifest import Manifest
    from objremove.runs.options import begin

    output = Path(where.to or "")
    manifest = Manifest(output, begin(output, options, again=folders.again, dry=True))
    items = unsettled(plan, manifest, folders.settings(where))
    todo = items[: folders.limit]
    for item in todo:
        if as_json:
            print(json.dumps({"photo": item.name, "source": str(item.source), "target": str(item.target)}))
        else:
            print(_printable(f"{item.source} -> {item.target}"))
    for skipped in plan.skipped:
        if as_json:
            print(json.dumps({"photo": skipped.name, "source": str(skipped.source), "skipped": skipped.reason}))
        else:
            print(_printable(f"{skipped.source}: skipped, {skipped.reason}"))
    done, left = len(plan.items) - len(items), len(items) - len(todo)
    speaker.say(
        f"{len(todo)} photos into {output}, {done} done already, {left} left for later runs, "
        f"{len(plan.skipped)} files skipped; nothing was written"
    )
    return OK


def _printable(text: str) -> str:
    """Names that are no UTF-8, too, can be shown."""
    return text.encode(errors="backslashreplace").decode()


def remove_from_folders(
    remover: Remover,
    request: Mapping[str, Any],
    options: Mapping[str, Any],
    folders: Folders,
    plan: Plan,
    where: Output,
    *,
    as_json: bool,
    speaker: Speaker,
) -> int:
    """Do what is left of a plan, or, with `--watch`, of one plan after another; the exit code."""
    from objremove.folder import run as folder_run
    from objremove.folder.watch import rounds
    from objremove.request import Request
    from objremove.runs.output import opened

    output, settings, same = Path(where.to or ""), folders.settings(where), Request(**request)
    watched = [photo for photo in folders.photos if os.path.isdir(photo)]
    with (
        _stopped_by_ctrl_c(speaker) as stop,
        opened(output, options, again=folders.again) as manifest,
        _lines_of_json(as_json) as lines,
    ):
        plans = rounds(lambda: folders.plan(where), watched, stop) if folders.watch else iter([plan])
        code = OK
        for one in plans:
            with Meter(speaker, lines) as meter:
                tally = folder_run.run(remover, same, one, manifest, settings, listener=meter, stop=stop)
            if sum(tally.now.values()) or not folders.watch:
                say_tally(tally, output, speaker)
            code = _code(tally)
    return INTERRUPTED if stop.is_set() else code


def _code(tally: Tally) -> int:
    if not tally.files["failed"]:
        return OK
    return SOME_FAILED if tally.files["removed"] + tally.files["unmatched"] + tally.left else FAILED


@contextmanager
def _lines_of_json(asked: bool) -> Iterator[TextIO | None]:
    """Standard output for lines of JSON alone: what C libraries print there meanwhile goes to stderr."""
    if not asked:
        yield None
        return
    with os.fdopen(os.dup(1), "w") as lines, stdout_kept_clean():
        yield lines


@contextmanager
def _stopped_by_ctrl_c(speaker: Speaker) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one interrupts as ever."""
    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def interrupted(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)
        speaker.error("interrupted: finishing the photos in work; once more to leave at once")

    # Where Ctrl-C is ignored (background jobs of a shell) it stays so; signals are the main thread's concern.
    handles = before is not signal.SIG_IGN and threading.current_thread() is threading.main_thread()
    if handles:
        signal.signal(signal.SIGINT, interrupted)
    try:
        yield stop
    finally:
        if handles:
            signal.signal(signal.SIGINT, before)


class Meter:
    """Progress for people, as a bar on a terminal and as a line now and then elsewhere; lines of JSON for scripts.

    A `objremove.runs.tally.Listener`.
    """

    def __init__(self, speaker: Speaker, lines: TextIO | None) -> None:
        self._speaker, self._lines = speaker, lines
        self._total = self._done = self._failed = 0
        self._started = self._said = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begins(self, total: int, settled: int) -> None:
        """See `Listener`."""
        self._total = total
        if settled:
            self._speaker.say(f"{settled} photos are done already, {total} to do")
        if total and self._speaker.level >= 0 and sys.stderr.isatty():
            self._bar = _bar(self._speaker, total)

    def line(self, line: Mapping[str, Any]) -> None:
        """See `Listener`."""
        if self._lines is not None:
            print(json.dumps(line), file=self._lines, flush=True)
        for warning in line.get("warnings", ()) if self._speaker.level > 0 else ():
            self._speaker.warn(line["photo"], warning)
        if line["status"] != "skipped":
            self._done += 1
            self._step()

    def failed(self, item: Item, error: Exception) -> None:
        """See `Listener`."""
        from objremove.runs.failures import one_line

        self._failed += 1
        if self._speaker.level > 1:
            traceback.print_exception(error)
        self._speaker.error(f"{item.source}: {one_line(error, item.source)}")

    def _step(self) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done, state=self._state)
        elif time.monotonic() - self._said >= EVERY:
            self._said = time.monotonic()
            left = (self._total - self._done) * (self._said - self._started) / self._done
            clock = f"{int(left) // 3600}:{int(left) // 60 % 60:02}:{int(left) % 60:02}"
            self._speaker.say(f"{self._done}/{self._total} photos, {self._state}, {clock} left")

    @property
    def _state(self) -> str:
        rate = self._done / max(1e-9, time.monotonic() - self._started)
        return f"{rate:.2f} photos/s" + (f", {self._failed} failed" if self._failed else "")


def _bar(speaker: Speaker, total: int) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("photos"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
        console=speaker.console,
        transient=True,
    )
    bar.add_task("photos", total=total, state="")
    bar.start()
    return bar


def say_tally(tally: Tally, output: Path, speaker: Speaker) -> None:
    """The summary: what became of all files of the plan, and what this run did."""
    from rich.table import Table

    from objremove.runs.layout import REPORT

    if speaker.level < 0:
        return
    table = Table("", "all", "this run", box=None, pad_edge=False)
    for status, meaning in (
        ("removed", "removed"),
        ("unmatched", "unmatched (nothing to remove was found)"),
        ("failed", "failed"),
        ("skipped", "skipped (no photos)"),
    ):
        if tally.files[status]:
            table.add_row(meaning, str(tally.files[status]), str(tally.now[status]) if status != "skipped" else "")
    if tally.left:
        table.add_row("left to do", str(tally.left), "")
    speaker.console.print(table)
    done = sum(tally.now.values())
    names = ", ".join(f"{label} x{count}" for label, count in tally.labels.most_common())
    rate = f" in {tally.seconds:.1f} s ({done / tally.seconds:.2f} photos/s)" if done else ""
    speaker.say(f"{done} photos{rate}{': removed ' + names if names else ''}; report: {output / REPORT}")
