"""How a run over many photos goes, for people: a bar on a terminal, elsewhere a line now and then; and what became of it."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TextIO

from objremove.cli.console import FAILED, OK, SOME_FAILED, Speaker
from objremove.wording import counted

if TYPE_CHECKING:
    from objremove.runs.layout import Item
    from objremove.runs.tally import Tally

EVERY = 10.0
"""Seconds between two lines on progress where standard error is no terminal."""


class Meter:
    """Progress: how many photos, how many a second, how many failed; how long still, where it is known how many there are."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._total: int | None = None
        self._failed = 0
        self._started = self._said = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, total: int | None) -> None:
        """There is work, so many photos; None: nobody knows how many."""
        self._total = total
        if self._speaker.level >= 0 and sys.stderr.isatty():
            self._bar = _bar(self._speaker, total)

    def reach(self, done: int) -> None:
        """So many photos are done by now."""
        now = time.monotonic()
        state = f"{done / max(1e-9, now - self._started):.2f} photos/s"
        state += f", {self._failed} failed" if self._failed else ""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, state=state)
        elif now - self._said >= EVERY:
            self._said = now
            told, left = counted(done, "photo"), ""
            if self._total is not None:
                told = f"{done}/{counted(self._total, 'photo')}"
                left = f", {_clock((self._total - done) * (now - self._started) / done)} left" if done else ""
            self._speaker.say(f"{told}, {state}{left}")


class RunMeter(Meter):
    """A `objremove.runs.tally.Listener`: progress for people, lines of JSON for scripts."""

    def __init__(self, speaker: Speaker, lines: TextIO | None = None) -> None:
        super().__init__(speaker)
        self._lines, self._done = lines, 0

    def begins(self, total: int, settled: int) -> None:
        """See `Listener`."""
        if settled:
            self._speaker.say(f"{counted(settled, 'photo')} done already, {total} to do")
        if total:
            self.start(total)

    def line(self, line: Mapping[str, Any]) -> None:
        """See `Listener`."""
        if self._lines is not None:
            print(json.dumps(line), file=self._lines, flush=True)
        for warning in line.get("warnings", ()) if self._speaker.level > 0 else ():
            self._speaker.warn(line["photo"], warning)
        if line["status"] != "skipped":
            self._done += 1
            self.reach(self._done)

    def failed(self, item: Item, error: Exception) -> None:
        """See `Listener`."""
        from objremove.runs.failures import one_line

        self._failed += 1
        if self._speaker.level > 1:
            traceback.print_exception(error)
        self._speaker.error(f"{item.source}: {one_line(error, item.source)}")


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _bar(speaker: Speaker, total: int | None) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    state = TextColumn("{task.fields[state]}")
    columns = (TextColumn("photos"), BarColumn(), MofNCompleteColumn(), state, TimeRemainingColumn())
    bar = Progress(*columns, console=speaker.console, transient=True, redirect_stdout=False)
    bar.add_task("photos", total=total, state="")
    bar.start()
    return bar


def say_tally(tally: Tally, output: object, speaker: Speaker) -> None:
    """The summary: what became of all files of the plan, and what this run did; `output` is a path or URL."""
    from rich.table import Table

    from objremove.runs.layout import REPORT

    if speaker.level < 0:
        return
    table = Table("", "all", "this run", box=None, pad_edge=False)
    for status, meaning in (
        ("removed", "removed"),
        ("unmatched", "unmatched (nothing to remove was found)"),
        ("failed", "failed"),
        ("skipped", "skipped (left out, or no photo)"),
    ):
        if tally.files[status]:
            table.add_row(meaning, str(tally.files[status]), str(tally.now[status]) if status != "skipped" else "")
    if tally.left:
        table.add_row("left to do", str(tally.left), "")
    speaker.console.print(table)
    done = sum(tally.now.values())
    names = ", ".join(f"{label} x{count}" for label, count in tally.labels.most_common())
    rate = f" in {tally.seconds:.1f} s ({done / tally.seconds:.2f} photos/s)" if done else ""
    speaker.say(f"{counted(done, 'photo')}{rate}{': removed ' + names if names else ''}; report: {output}/{REPORT}")


def tally_code(tally: Tally, unfinished: int = 0) -> int:
    """The exit code of a run; `unfinished` is what is left beside the photos that the tally counts."""
    if not tally.files["failed"]:
        return OK
    well = tally.files["removed"] + tally.files["unmatched"] + tally.left + unfinished
    return SOME_FAILED if well else FAILED
