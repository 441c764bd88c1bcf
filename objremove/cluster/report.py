"""The report of a cluster run: all parts put together, and the results removed that no line of it names any more."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from objremove.cluster.ledger import Known, Ledger
from objremove.runs.layout import REPORT
from objremove.runs.manifest import SKIPPED
from objremove.runs.tally import Tally


def merge(
    ledger: Ledger,
    before: Known,
    after: Known,
    skipped: Iterable[tuple[str, str]] = (),
    outdated: Collection[str] = (),
) -> Tally:
    """Put all parts together as `report.jsonl`, one line for each photo, and count them; what is left to do is not counted here.

    Files of earlier results of a photo that its line no longer names are removed: it fails now, nothing is found in it any more, or its
    result has another name. Only what a line of a run has named is ever removed.

    Args:
        ledger: the parts.
        before: what there was when the run began.
        after: what there is now.
        skipped: (name, reason) of files that were not worked on.
        outdated: units of shards that have changed; they are forgotten, with their results.
    """
    old = set(before.parts())
    parts = [part for part in after.parts() if part[0] not in outdated]
    last = _last_words(ledger, parts)
    leftovers = _Leftovers()
    for fields in _earlier(ledger, before):
        leftovers.add(fields)
    for fields in _lines(ledger, [part for part in after.parts() if part[0] in outdated]):
        leftovers.add(fields, gone=True)
    tally = Tally()
    with ledger.output.writer(REPORT) as report:
        for name, reason in skipped:
            fields = {"photo": name, "status": SKIPPED, "run": ledger.run, "reason": reason}
            report.write(json.dumps(fields, ensure_ascii=False).encode() + b"\n")
            tally.files[SKIPPED] += 1
        for part, line in ledger.lines(parts):
            fields = json.loads(line)
            if last.get(fields["photo"], part) != part:
                leftovers.add(fields)
                continue
            leftovers.settle(fields)
            report.write(line)
            tally.files[fields["status"]] += 1
            if part not in old:
                tally.count(fields)
    for path in leftovers.files():
        ledger.output.remove(path)
    for unit in outdated:
        ledger.forget(unit, after.units.pop(unit, ()))
    return tally


def _earlier(ledger: Ledger, before: Known) -> Iterator[dict[str, Any]]:
    """Lines of other options, and those that were removed when the run began."""
    for other in ledger.other_runs():
        yield from _lines(other, Known(other.all()).parts())
    yield from before.withdrawn


def _lines(ledger: Ledger, parts: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for _, line in ledger.lines(parts))


def _last_words(ledger: Ledger, parts: Sequence[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """The part that counts of photos that more than one may speak of: single photos, where there was more than one run."""
    single = [part for part in parts if part[0].startswith("p-")]
    if len({unit.split("-")[1] for unit, _ in single}) < 2:
        return {}
    return {json.loads(line)["photo"]: part for part, line in ledger.lines(single)}


class _Leftovers:
    """Files that earlier lines named, by photo, until that photo's line names them again."""

    def __init__(self) -> None:
        self._files: dict[str, set[str]] = {}
        self._settled: set[str] = set()

    def add(self, earlier: Mapping[str, Any], *, gone: bool = False) -> None:
        """An earlier line. Its files stay while its photo has no other line, unless the photo is `gone`."""
        files = _files(earlier)
        if files:
            self._files.setdefault(earlier["photo"], set()).update(files)
        if gone:
            self._settled.add(earlier["photo"])

    def settle(self, line: Mapping[str, Any]) -> None:
        """The line of a photo that counts."""
        files = self._files.get(line["photo"])
        if files is not None:
            files -= _files(line)
            self._settled.add(line["photo"])

    def files(self) -> Iterator[str]:
        """What nobody names any more."""
        for photo, files in self._files.items():
            if photo in self._settled:
                yield from files


def _files(line: Mapping[str, Any]) -> set[str]:
    """The files of a line's result."""
    output = line.get("output") or {}
    return {output[name] for name in ("path", "mask") if name in output}
