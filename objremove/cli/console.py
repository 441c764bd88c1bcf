"""What the command line says, and where: results of `--json` and pipes on stdout, everything for people on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Progress = Callable[[int, int], None]

OK, FAILED, USAGE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes."""

_ONE_LINE = 1000  # columns: more than any row of a table has


def exit_code(failures: Sequence[int], total: int) -> int:
    """The exit code of `total` jobs, given those of the ones that failed; where all did, the first says why."""
    if not failures:
        return OK
    return failures[0] if len(failures) == total else SOME_FAILED


@contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """What C libraries print on standard output meanwhile goes to stderr: JSON lines and piped photos stay whole."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # started with standard output closed
        yield
        return
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def print_table(table: Table) -> None:
    """Print on standard output: as wide as the terminal, or, in a pipe, with each row on a line of its own."""
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else _ONE_LINE).print(table)


class Speaker:
    """Says things on stderr, as much as was asked for.

    Args:
        level: -1 errors only, 0 the usual, 1 details, 2 details and tracebacks.
    """

    def __init__(self, level: int = 0) -> None:
        self.level = level

    @property
    def console(self) -> Console:
        """Rich's console on the present stderr; plain text when that is not a terminal."""
        from rich.console import Console

        return Console(file=sys.stderr, highlight=False, soft_wrap=True)

    def say(self, text: str, *, level: int = 0) -> None:
        """A line for people."""
        if self.level >= level:
            print(text, file=sys.stderr)

    def warn(self, where: str, text: str) -> None:
        """A line that says what could not be kept or done."""
        self.say(f"{where}: note: {text}")

    def error(self, text: str) -> None:
        """One line that says what went wrong; printed however quiet."""
        print("objremove: " + " ".join(text.split()), file=sys.stderr)

    @contextmanager
    def progress(self, title: str, unit: str) -> Iterator[Progress | None]:
        """A bar on a terminal; None elsewhere, or when quiet. The bar appears with the first step and goes when done."""
        if self.level < 0 or not sys.stderr.isatty():
            yield None
            return
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
        columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
        # Results go to standard output while it is shown: rich would bring them to its own console.
        with Progress(*columns, console=self.console, transient=True, redirect_stdout=False) as bar:
            task = bar.add_task(title, total=None, visible=False)

            def step(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total or None, visible=True)

            yield step
