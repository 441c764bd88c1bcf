"""Folder runs on the command line: `objremove --remove person photos/ -o clean/`."""

from __future__ import annotations

import glob
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from objremove.cli.console import INTERRUPTED, OK, Speaker, stdout_kept_clean
from objremove.cli.meter import RunMeter, say_tally, tally_code
from objremove.cli.output import STANDARD, Output
from objremove.errors import NoFileError, UsageError
from objremove.wording import counted

if TYPE_CHECKING:
    from objremove.folder.plan import Plan
    from objremove.folder.run import Settings
    from objremove.remover import Remover


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
        return bool(self.folders) or any(map(_is_pattern, self.photos)) or self.list is not None

    @property
    def _sources(self) -> Sequence[str]:
        """What is named; an empty word is the working folder."""
        return [photo or "." for photo in self.photos]

    @cached_property
    def folders(self) -> Sequence[str]:
        """Those of the photos that are folders, at the first look: one that is gone later remains one."""
        return [photo for photo in self._sources if os.path.isdir(photo)]

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
        for photo in self.photos:
            if _is_pattern(photo) and not any(glob.iglob(photo, recursive=True)):
                raise UsageError(f"{photo}: no file or folder is called like that")
        for photo in self._sources if self.watch else ():
            if not _is_pattern(photo) and not os.path.exists(photo):
                raise NoFileError(f"{photo}: no such file or folder")
        named = self._sources[0] if self.photos else f"--list {self.list}"
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
        if self.watch and self.limit is not None:
            raise UsageError("--limit does so many photos and ends: leave out --watch")
        if self.watch and not self.folders:
            raise UsageError("--watch needs a folder to watch")

    def plan(self, where: Output) -> Plan:
        """Which photos, and what will be written; errors as of `make_plan`."""
        from objremove.folder.plan import make_plan
        from objremove.runs.layout import Layout

        extension = f".{where.format.lower().lstrip('.')}" if where.format else None
        layout = Layout(Path(where.to or ""), extension, where.save_mask, where.compare)
        return make_plan(
            self._sources,
            layout,
            listed=self._listed(),
            recursive=self.recursive,
            watched=self.watch,
            folders=self.folders,
        )

    def _listed(self) -> Sequence[str]:
        from objremove.folder.plan import read_list

        if self.list is None:
            return []
        return self._piped if self.list == str(STANDARD) else read_list(_content(Path(self.list)))

    @cached_property
    def _piped(self) -> Sequence[str]:
        """The list on standard input, which can be read only once, however often one looks for photos."""
        from objremove.folder.plan import read_list

        return read_list(sys.stdin.buffer.read())

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


def _content(path: Path) -> bytes:
    """What a list holds."""
    try:
        return path.read_bytes()
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
        f"{counted(len(todo), 'photo')} into {output}, {done} done already, {left} left for later runs, "
        f"{counted(len(plan.skipped), 'file')} skipped; nothing was written"
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
    with (
        _stopped_by_ctrl_c(speaker) as stop,
        opened(output, options, again=folders.again) as manifest,
        _lines_of_json(as_json) as lines,
    ):
        plans = rounds(lambda: folders.plan(where), folders.folders, stop) if folders.watch else iter([plan])
        code = OK
        for one in plans:
            with RunMeter(speaker, lines) as meter:
                tally = folder_run.run(remover, same, one, manifest, settings, listener=meter, stop=stop)
            if sum(tally.now.values()) or not folders.watch:
                say_tally(tally, output, speaker)
            code = tally_code(tally)
    return INTERRUPTED if stop.is_set() else code


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
