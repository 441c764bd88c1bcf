"""What became of the photos of a run, and who is told meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from objremove.instances import count_labels
from objremove.runs.layout import Item


@dataclass
class Tally:
    """What became of a plan.

    Attributes:
        files: by status, over the whole plan, whichever run did them.
        now: photos that this run worked on, by status.
        labels: objects that this run removed, by label.
        left: photos that are still to be done.
        seconds: that this run took.
    """

    files: Counter[str] = field(default_factory=Counter)
    now: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    left: int = 0
    seconds: float = 0.0

    def count(self, line: Mapping[str, Any]) -> None:
        """A line of the report that this run has written."""
        self.now[line["status"]] += 1
        # Reports of earlier versions say nothing of `extends`.
        self.labels += count_labels((one["label"], one.get("extends", False)) for one in line.get("removed", ()))


class Listener(Protocol):
    """Is told how a run goes."""

    def begins(self, total: int, settled: int) -> None:
        """So many photos are to be done, and so many are already."""

    def line(self, line: Mapping[str, Any]) -> None:
        """A line of the report was written."""

    def failed(self, item: Item, error: Exception) -> None:
        """A photo failed; its line follows."""


class Silence:
    """A `Listener` that says nothing."""

    def begins(self, total: int, settled: int) -> None:
        """See `Listener`."""

    def line(self, line: Mapping[str, Any]) -> None:
        """See `Listener`."""

    def failed(self, item: Item, error: Exception) -> None:
        """See `Listener`."""
