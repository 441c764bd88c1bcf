"""Where results go. Every path is settled before the first photo is touched, so that no file is lost that nobody gave up."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from objremove.cli.console import stdout_kept_clean
from objremove.cli.options import beside
from objremove.errors import PhotoError, UsageError

if TYPE_CHECKING:
    from objremove.result import Result

STANDARD = Path("-")
"""Standard input as a photo, standard output as a target."""


@dataclass(frozen=True)
class Task:
    """One photo and the files that come of it.

    Attributes:
        photo: its path, or `STANDARD`.
        target: where the result goes; None is standard output.
        format: what it is written as; None keeps the photo's own format.
        mask: where the mask goes, if it was asked for.
        comparison: where before | mask | after goes, if it was asked for.
    """

    photo: Path
    target: Path | None
    format: str | None = None
    mask: Path | None = None
    comparison: Path | None = None

    def source(self) -> Path | bytes:
        """What `Remover` is to open."""
        return sys.stdin.buffer.read() if self.photo == STANDARD else self.photo


@dataclass(frozen=True)
class Output:
    """What the command line says about output; fields are named as its options are.

    Attributes:
        to: file, folder (one that exists, or with a separator at its end), `-`, or None: beside the photo.
    """

    to: str | None
    suffix: str
    format: str | None
    quality: int | None
    in_place: bool
    overwrite: bool
    save_mask: bool
    compare: bool

    def plan(self, photos: Sequence[Path], masks: Sequence[Path]) -> list[Task]:
        """A task for each photo.

        Raises:
            UsageError: options contradict each other, or a file would be written that exists, that is to be read, or that
                another photo writes too.
            PhotoError: a target is a folder or a device.
        """
        from objremove.photo import format_name

        format_name(self.format)  # an unknown one is said before any work is done
        self._check_options(photos)
        tasks = [self._task(photo, many=len(photos) > 1) for photo in photos]
        inputs = {_identity(path) for path in (*photos, *masks) if path != STANDARD}
        writers: dict[object, Path] = {}
        for task in tasks:
            for path in (task.target, task.mask, task.comparison):
                if path is None:
                    continue
                name = _identity(path)
                if name in writers and _identity(task.photo) == _identity(writers[name]):
                    raise UsageError(f"{task.photo} is named twice: name it once")
                if name in writers:
                    raise UsageError(f"{writers[name]} and {task.photo} would both write {path}: run them apart")
                writers[name] = task.photo
                if not (self.in_place and path == task.target):
                    self._check_free(path, task.photo, inputs)
        return tasks

    def _check_options(self, photos: Sequence[Path]) -> None:
        from objremove.photo import format_name

        stdin, many = STANDARD in photos, len(photos) > 1
        stdout = self.to == "-" or (stdin and self.to is None)
        if many and (stdin or stdout):
            raise UsageError("'-' stands for one photo: give no others with it")
        if self.in_place and self.to is not None:
            raise UsageError("--in-place and --output contradict each other: take one")
        if self.in_place and self.format is not None:
            raise UsageError("--in-place keeps the file's name, so it takes no --format: take one of them")
        if stdin and self.in_place:
            raise UsageError("--in-place needs a file: give the photo as a path")
        if stdout and (self.save_mask or self.compare):
            raise UsageError("--save-mask and --compare write beside the result: give --output a file")
        if stdin and self.to is not None and self._names_folder:
            raise UsageError(f"a photo from standard input has no name: give --output a file in {self.to}")
        if many and self.to is not None and os.path.isfile(self.to):
            raise UsageError(f"{self.to} is a file, but there are {len(photos)} photos: give a folder")
        named = self._format_named
        if many and named:
            raise UsageError(
                f"{self.to} names one file, but there are {len(photos)} photos: give a folder, ending in / if that is its name"
            )
        if named and self.format is not None and format_name(self.format) != named:
            raise UsageError(f"--format {self.format} and --output {self.to} contradict each other: take one of them")
        if any(mark in self.suffix for mark in "/\\"):
            raise UsageError(f"--suffix {self.suffix!r} is part of a file's name: for another folder take --output")

    @property
    def _format_named(self) -> str | None:
        """The format that the name of the output asks for, where it is a file's."""
        from objremove.photo import format_name

        try:
            return None if self.to is None or self._names_folder else format_name(Path(self.to).suffix or None)
        except UsageError:
            return None

    @property
    def _names_folder(self) -> bool:
        return self.to is not None and (self.to.endswith(("/", os.sep)) or os.path.isdir(self.to))

    def _task(self, photo: Path, *, many: bool) -> Task:
        target = self._target(photo, many=many)
        if target is None:
            return Task(photo, None, self.format)
        chosen = self.to is not None and target == Path(
            self.to
        )  # the user's own name; others are made from the photo's
        return Task(
            photo,
            target,
            self.format or (_format_by_name(target, photo) if chosen else None),
            beside(target, ".mask", ".png") if self.save_mask else None,
            beside(target, ".compare", ".png") if self.compare else None,
        )

    def _target(self, photo: Path, *, many: bool) -> Path | None:
        if self.in_place:
            return Path(os.path.realpath(photo)) if photo.is_symlink() else photo
        extension = f".{self.format.lower().lstrip('.')}" if self.format else photo.suffix
        if self.to is None:
            return None if photo == STANDARD else beside(photo, self.suffix, extension)
        if self.to == "-":
            return None
        return Path(self.to, photo.stem + extension) if many or self._names_folder else Path(self.to)

    def _check_free(self, path: Path, photo: Path, inputs: set[object]) -> None:
        name = _identity(path)
        if name in inputs and name == _identity(photo):
            raise UsageError(
                f"{path} is the photo itself: name another output, or use --in-place, which keeps a backup"
            )
        if name in inputs:
            raise UsageError(
                f"{photo} would write {path}, which is itself a photo or mask to read: leave it out, or name another output"
            )
        check_replaceable(path, overwrite=self.overwrite)

    def write(self, result: Result, task: Task) -> tuple[str, ...]:
        """Write the files of one photo; where nothing was removed only standard output gets something.

        Returns the warnings of the encoding; raises PhotoError where a file cannot be written.
        """
        if task.target is not None and not result.changed:
            return ()
        with stdout_kept_clean():
            data, warnings = result.encode(format=task.format, quality=self.quality)
        if task.target is None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return warnings

        from objremove.drawing import encode_picture
        from objremove.masks import png_of
        from objremove.photo import write_atomic

        task.target.parent.mkdir(parents=True, exist_ok=True)
        if self.in_place:
            back_up(task.target)
        write_atomic(task.target, data)
        if task.mask is not None:
            write_atomic(task.mask, png_of(result.mask))
        if task.comparison is not None:
            write_atomic(task.comparison, encode_picture(result.compare()))
        return warnings


def check_replaceable(path: Path, *, overwrite: bool) -> None:
    """Raise UsageError for a file that exists unless it may be overwritten, PhotoError for a folder or device."""
    if not path.exists():
        return
    if not path.is_file():
        raise PhotoError(f"{path} is no regular file and is not replaced: name another output")
    if not overwrite:
        raise UsageError(f"{path} exists: name another output, or add --overwrite")


def back_up(photo: Path) -> Path:
    """Keep a photo's bytes as PHOTO.orig, or, where that holds others, as PHOTO.orig.1, .2 …; no backup is ever replaced.

    Raises:
        PhotoError: there is no room for it; the photo is as it was.
    """
    from objremove.photo import write_atomic

    data = photo.read_bytes()
    endings = chain(["orig"], (f"orig.{number}" for number in count(1)))
    for backup in (photo.with_name(f"{photo.name}.{ending}") for ending in endings):
        if not os.path.lexists(backup):
            break
        if backup.is_file() and backup.read_bytes() == data:
            return backup
    try:
        write_atomic(backup, data)
    except PhotoError as error:
        raise PhotoError(f"left alone, for it cannot be backed up: {error}") from error
    with suppress(OSError):  # the bytes are safe; a time or a permission that the disk cannot hold is no reason to stop
        shutil.copystat(photo, backup)
    return backup


def _format_by_name(target: Path, photo: Path) -> str | None:
    """The format that the name of `target` asks for; None, the photo's own, where the name says no more than the photo's.

    So a PNG that is called photo.jpg stays a PNG, and a photo whose extension means nothing keeps its format.
    """
    from objremove.photo import format_name

    if not target.suffix or target.suffix.lower() == photo.suffix.lower():
        return None
    return format_name(target.suffix)


def _identity(path: Path) -> object:
    """What two paths to one file have in common, whatever links lead there."""
    try:
        state = path.stat()
    except OSError:
        return os.path.normcase(os.path.realpath(path))
    return state.st_dev, state.st_ino
