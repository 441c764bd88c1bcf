"""What is said of each photo: lines for people, and lines of JSON for scripts."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from objremove.cli.console import Speaker
from objremove.cli.output import STANDARD, Task

if TYPE_CHECKING:
    from objremove.result import Result


@dataclass(frozen=True)
class Report:
    """Says what became of each photo.

    Attributes:
        speaker: of lines for people.
        as_json: one line of JSON for each photo, too: on standard output, or on standard error where that carries a photo.
    """

    speaker: Speaker
    as_json: bool

    def done(self, task: Task, result: Result, warnings: tuple[str, ...]) -> None:
        """A photo went well; `warnings` are those of the encoding."""
        target = task.target if result.changed else None
        warnings = (*result.warnings, *warnings)
        output = None if target is None else str(target)
        self._json(task, {"output": output, **result.to_dict(), "warnings": list(warnings)})
        for warning in warnings:
            self.speaker.warn(str(task.photo), warning)
        self.speaker.say(_summary(result, task))
        stages = (f"{stage} {seconds:.2f} s" for stage, seconds in result.timings.items())
        self.speaker.say("  " + ", ".join(stages), level=1)

    def failed(self, task: Task, error: Exception) -> None:
        """A photo failed: one line that names it, and with -vv the traceback."""
        from objremove.runs.failures import one_line

        if self.speaker.level > 1:
            traceback.print_exception(error)
        known_as = Path("input") if task.photo == STANDARD else task.photo  # `Photo` calls bytes so
        reason = one_line(error, known_as)
        self._json(task, {"error": reason})
        name = "standard input" if task.photo == STANDARD else str(task.photo)
        self.speaker.error(f"{name}: {reason}")

    def _json(self, task: Task, fields: Mapping[str, Any]) -> None:
        if self.as_json:
            stream = sys.stderr if task.target is None else sys.stdout
            print(json.dumps({"photo": str(task.photo), **fields}), file=stream, flush=True)


def _summary(result: Result, task: Task) -> str:
    """One line: what went, how much of the photo, how long, where to."""
    from objremove.instances import count_objects

    if not result.changed:
        left = count_objects(result.kept).total()
        what = f"nothing was removed, {left} found and left" if left else "nothing to remove was found"
        return f"{task.photo}: {what}; {'passed on unchanged' if task.target is None else 'no file was written'}"
    counts = count_objects(result.instances)
    names = ", ".join(label if count == 1 else f"{label} x{count}" for label, count in counts.items())
    share = 100 * result.mask.mean()
    seconds = sum(result.timings.values())
    where = task.target or "standard output"
    return f"{task.photo}: removed {names} ({share:.1f} % of the photo) in {seconds:.1f} s -> {where}"
