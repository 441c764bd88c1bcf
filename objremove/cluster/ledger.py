"""The memory of a cluster run: small files, each of which appears whole when its photos are done.

    OUTPUT/.objremove/parts/RUN/UNIT/000000000-000000032.jsonl   what became of photos 0 to 31 of a unit: lines as in every run's report
    OUTPUT/.objremove/parts/RUN/UNIT/end-000000845               so many photos the shard has
    OUTPUT/.objremove/parts/RUN/UNIT/try-000, at-000000007-002   a worker began with the unit, with a photo of it; removed when it goes well
    OUTPUT/report.jsonl                                          all parts, put together when a run ends, see `report`

A part is written after the results that it speaks of. Who is asked to do a unit again, on whatever machine, leaves out what its parts
cover; and as the parts of a unit are cut at fixed numbers, two workers that do the same write the same file. So each photo is
accounted for once, without a lock, and without anyone who knows it all.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from objremove.cluster.sources import File, Unit
from objremove.cluster.storage import Folder
from objremove.errors import UsageError
from objremove.runs.layout import STATE
from objremove.runs.manifest import FAILED
from objremove.runs.options import OPTIONS, Options, agreed

PARTS = f"{STATE}/parts"
"""Where the parts are; what workers begin with has a file here before it has a result."""

_PART = re.compile(r"(\d{9})-(\d{9})\.jsonl")
_MARKS = ("try-", "at-")
_BLAME = 2
"""A photo alone with which so many workers have died is to blame: one death may have any cause."""

_TOGETHER = 64
"""So many parts are read at a time."""


@dataclass(frozen=True)
class Covered:
    """What is known of a unit.

    Attributes:
        spans: (first, stop) of each part, by first.
        total: how many photos its shard has; None: nobody got to its end.
        tries: how often a worker of this run began with it.
        suspects: photos that two workers of this run began with alone, and none ended; see `worker`.
    """

    spans: tuple[tuple[int, int], ...] = ()
    total: int | None = None
    tries: int = 0
    suspects: frozenset[int] = frozenset()

    @cached_property
    def numbers(self) -> frozenset[int]:
        """The photos that are settled."""
        return frozenset(number for first, stop in self.spans for number in range(first, stop))

    @property
    def count(self) -> int:
        """How many those are."""
        return len(self.numbers)

    @property
    def complete(self) -> bool:
        """Whether all photos of a shard are."""
        return self.total is not None and self.count >= self.total

    def stop_after(self, more: int) -> int:
        """The number of photos from the beginning within which there are `more` that are not settled."""
        number = 0
        while more:
            more -= number not in self.numbers
            number += 1
        return number

    @classmethod
    def by_names(cls, names: Iterable[str]) -> Covered:
        """What the files of a unit say."""
        spans, totals, tries, begun = [], [], 0, Counter[int]()
        for name in names:
            part = _PART.fullmatch(name)
            if part:
                spans.append((int(part[1]), int(part[2])))
            elif name.startswith("end-"):
                totals.append(int(name[4:]))
            elif name.startswith("try-"):
                tries += 1
            elif name.startswith("at-"):
                begun[int(name.split("-")[1])] += 1
        covered = cls(tuple(sorted(spans)), max(totals, default=None), tries)
        suspects = {number for number, times in begun.items() if times >= _BLAME and number not in covered.numbers}
        return replace(covered, suspects=frozenset(suspects))


class Ledger:
    """The parts of one run's options in one output.

    Args:
        output: the output folder.
        run: by which options, see `begin`.
    """

    def __init__(self, output: Folder, run: str) -> None:
        self.output, self.run = output, run
        self._parts = f"{PARTS}/{run}"

    # ------------------------------------------------------------------ the worker's side

    def covered(self, unit: str) -> Covered:
        """What is known of a unit by now."""
        return Covered.by_names(self.output.names(f"{self._parts}/{unit}"))

    def publish(self, unit: str, first: int, stop: int, lines: Sequence[Mapping[str, Any]]) -> None:
        """Write what became of photos `first` to `stop` - 1 of a unit."""
        data = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)
        self.output.put(f"{self._parts}/{unit}/{first:09}-{stop:09}.jsonl", data)

    def ends(self, unit: str, total: int) -> None:
        """Write down how many photos a shard has."""
        self.output.put(f"{self._parts}/{unit}/end-{total:09}", b"")

    def begins(self, unit: str, tries: int) -> None:
        """Write down that a worker begins with a unit that was begun so many times before."""
        self.output.put(f"{self._parts}/{unit}/try-{tries:03}", b"")

    def comes_to(self, unit: str, number: int, tries: int) -> None:
        """Write down that a worker begins with a photo alone, in a unit that was begun so many times before."""
        self.output.put(f"{self._parts}/{unit}/at-{number:09}-{tries:03}", b"")

    def tidy(self, unit: str) -> None:
        """A unit went well: forget how often it was begun."""
        for name in self.output.names(f"{self._parts}/{unit}"):
            if name.startswith(_MARKS):
                self.output.remove(f"{self._parts}/{unit}/{name}")

    # ------------------------------------------------------------------ the driver's side

    def all(self) -> dict[str, list[str]]:
        """The names of all files of each unit, by unit."""
        units: dict[str, list[str]] = {}
        root = self.output.at(self._parts)
        self.output.fs.invalidate_cache()
        for path in sorted(self.output.fs.find(root)) if self.output.fs.exists(root) else ():
            unit, name = str(path).rsplit("/", 2)[-2:]
            units.setdefault(unit, []).append(name)
        return units

    def lines(self, parts: Sequence[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], bytes]]:
        """The lines of the parts named by (unit, file name), each with its part."""
        for start in range(0, len(parts), _TOGETHER):
            group = {
                self.output.at(f"{self._parts}/{unit}/{name}"): (unit, name) for unit, name in parts[start:][:_TOGETHER]
            }
            contents = self.output.fs.cat(list(group), on_error="raise")
            contents = contents if isinstance(contents, dict) else dict.fromkeys(group, contents)
            for path, part in group.items():
                for line in contents[path].splitlines(keepends=True):
                    yield part, line

    def forget(self, unit: str, names: Iterable[str]) -> None:
        """Remove files of a unit."""
        for name in names:
            self.output.remove(f"{self._parts}/{unit}/{name}")

    def forget_other_runs(self) -> None:
        """Remove the parts of other options: all photos have been done anew."""
        for other in self.other_runs():
            self.output.fs.rm(self.output.at(other._parts), recursive=True)

    def other_runs(self) -> list[Ledger]:
        """The parts of other options in the same output."""
        return [Ledger(self.output, run) for run in self.output.names(PARTS) if run != self.run]


@dataclass
class Known:
    """What the parts say when a run begins.

    Attributes:
        units: the names of all files of each unit.
        photos: (size, time of change, tag) and status of single photos, by name; the last word counts.
        made_of: where the photo was that a result was made of, by the photo's name.
        ledger: where more can be read.
        generation: the number of this run among those of the same options.
        withdrawn: lines that were removed, so that their photos are done again.
    """

    units: dict[str, list[str]]
    photos: dict[str, tuple[tuple[int, int | None, str], str]] = field(default_factory=dict)
    made_of: dict[str, str] = field(default_factory=dict)
    ledger: Ledger | None = None
    generation: int = 0
    withdrawn: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, ledger: Ledger, *, retry_failed: bool) -> Known:
        """Read it, for a new driver: how often the workers of those before it began with a shard is forgotten.

        A driver's death and Ctrl-C end workers, too; no photo is to blame for that. (Single photos are in other units in each run.)
        With `retry_failed` the parts of shards in which a photo failed are removed, so that they are done again.
        """
        known = cls(ledger.all(), ledger=ledger)
        for unit, names in known.units.items():
            if unit.startswith("s-"):
                ledger.forget(unit, [name for name in names if name.startswith(_MARKS)])
                known.units[unit] = [name for name in names if not name.startswith(_MARKS)]
        for unit in [unit for unit in known.units if unit.startswith("s-")] if retry_failed else ():
            parts = [(unit, name) for name in known.units[unit] if _PART.fullmatch(name)]
            lines = [(name, json.loads(line)) for (_, name), line in ledger.lines(parts)]
            bad = {name for name, line in lines if line["status"] == FAILED}
            known.withdrawn += [line for name, line in lines if name in bad]
            ledger.forget(unit, bad)
            known.units[unit] = [name for name in known.units[unit] if name not in bad]
        for _, line in ledger.lines(known.parts("p-")):
            fields = json.loads(line)
            source = fields["source"]
            state = source["size"], source["mtime_ns"], source.get("tag", "")
            known.photos[fields["photo"]] = state, fields["status"]
            if fields["output"]:
                known.made_of[fields["photo"]] = source["path"]
        numbers = [int(unit.split("-")[1]) for unit in known.units if unit.startswith("p-")]
        known.generation = max(numbers, default=-1) + 1
        return known

    def parts(self, kind: str = "") -> list[tuple[str, str]]:
        """(unit, file name) of all parts of the units whose name begins so, older ones first."""
        return [
            (unit, name)
            for unit in sorted(self.units)
            if unit.startswith(kind)
            for name in sorted(self.units[unit])
            if _PART.fullmatch(name)
        ]

    def is_settled(self, file: File, *, retry_failed: bool) -> bool:
        """Whether nothing is to be done for a single photo."""
        state, status = self.photos.get(file.name, (None, ""))
        return state == (file.size, file.mtime_ns, file.tag) and not (retry_failed and status == FAILED)

    def places(self, units: Iterable[str]) -> Iterator[str]:
        """Where the shards were that units of results were made of."""
        for unit in units:
            parts = [(unit, name) for name in self.units[unit] if _PART.fullmatch(name)]
            for _, line in self.ledger.lines(parts[:1]) if self.ledger else ():
                yield str(json.loads(line)["source"]["path"]).partition("#")[0]
                break

    def covered(self, unit: Unit) -> Covered:
        """What is known of a shard."""
        return Covered.by_names(self.units.get(unit.id, ()))

    def outdated(self, unit: Unit) -> list[str]:
        """Units of the same shard as it was before it changed."""
        same = unit.id.rsplit("-", 1)[0]
        return [
            other for other in self.units if other.rsplit("-", 1)[0] == same and other != unit.id and same[0] == "s"
        ]


def begin(output: Folder, values: Mapping[str, Any], *, again: bool, overwrite: bool) -> str:
    """Hold the options of a run against those before it in the same output, and remember them; a short name for them.

    Raises:
        UsageError: they differ, and `again` does not say that all shall be done anew; or the output holds files that no run made, and
            `overwrite` does not say that they may be replaced.
    """
    known = None
    try:
        known = Options.read(output.read(OPTIONS), f"{output.url}/{OPTIONS}")
    except FileNotFoundError:
        if not overwrite and [one for one in output.names() if one != STATE]:
            raise UsageError(
                f"{output.url} holds files that no run made: name another --output, or add --overwrite"
            ) from None
    options = agreed(known, values, begun=bool(output.names(PARTS)), again=again, where=output.url)
    if options != known:
        output.put(OPTIONS, options.encoded)
    return options.name
