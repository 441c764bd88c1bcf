"""An output folder while a run is at work in it: for one process alone, and without what a killed one left half-written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from objremove.errors import PhotoError
from objremove.runs.layout import STATE
from objremove.runs.manifest import Manifest
from objremove.runs.options import begin

_DRAFT = re.compile(r"\.[0-9a-f]{16}\.part")


@contextmanager
def opened(output: Path, options: Mapping[str, Any], *, again: bool = False) -> Iterator[Manifest]:
    """The output folder, made where it is missing, for this process alone.

    Args:
        output: the folder.
        options: all that decides what results look like, as plain data; they are held against those of earlier runs.
        again: everything is to be done anew.

    Raises:
        UsageError: the options are others than before.
        PhotoError: another run is at work there; the folder cannot be written.
    """
    with held(output):
        manifest = Manifest(output, begin(output, options, again=again))
        try:
            manifest.compact()
            sweep(output)
            yield manifest
        finally:
            with suppress(OSError):  # tidiness only: a report with replaced lines is as good, and the disk may be full
                manifest.compact()


@contextmanager
def held(output: Path) -> Iterator[None]:
    """A folder, made where it is missing, locked against other runs.

    Raises:
        PhotoError: another run is at work there; the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        (output / STATE).mkdir(parents=True, exist_ok=True)
        lock = FileLock(output / STATE / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise PhotoError(f"{output}: another run is at work there: wait for it, or name another --output") from None
    except OSError as error:
        raise PhotoError(f"{output}: cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


def sweep(output: Path) -> None:
    """Remove the drafts of files that a killed run did not come to finish."""
    for folder, _, files in os.walk(output):
        for name in files:
            if _DRAFT.fullmatch(name):
                Path(folder, name).unlink(missing_ok=True)
