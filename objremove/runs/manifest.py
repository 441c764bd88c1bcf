"""The report of a run, which is also its memory: what is done is what the report says and the disk confirms.

`report.jsonl` has a line for each file. A line is written, and on the disk, before the result that it speaks of takes its name, so after
a crash there may be a line without its result (it is done again) but never a result without its line. The last line of a photo counts;
a torn one at the end of the file is no line.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from objremove.errors import PhotoError
from objremove.runs.checksums import has_digest, is_same
from objremove.runs.layout import COMPARISON_END, MASK_END, REPORT, Item

REMOVED, UNMATCHED, SKIPPED, FAILED, UNDONE = "removed", "unmatched", "skipped", "failed", "undone"
"""What a line says of its file; `undone` takes back the line before it."""

FILES = "files"
"""What a line calls all that was written for its photo: paths in the output folder."""

SUSPECTS = 256
"""So many of the last lines are believed only where the result has the checksum that they name: a crash comes between the two."""


@dataclass(frozen=True)
class Record:
    """What is remembered of a line.

    Attributes:
        status: `removed`, `unmatched`, `skipped` or `failed`.
        run: by which options, see `objremove.runs.options`.
        path: where the photo was; empty where nobody knows.
        source: (size, time of change in ns, SHA-256 or None) of the photo.
        output: (path in the output folder, size, SHA-256) of the result; None where there is none.
        files: all that was written for it, the result too, as paths in the output folder.
        reason: why it was skipped or failed.
        offset: where in the file the line begins.
    """

    status: str
    run: str
    path: str
    source: tuple[int, int, str | None] | None
    output: tuple[str, int, str] | None
    files: frozenset[str]
    reason: str
    offset: int


class Manifest:
    """The report of one output folder. Appending is safe from many threads.

    Args:
        output: the output folder.
        run: by which options the present run works, see `objremove.runs.options`.

    Attributes:
        output, run: as given.
        path: of the report.
    """

    def __init__(self, output: Path, run: str) -> None:
        self.output, self.path, self.run = output, output / REPORT, run
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}
        self._suspects: set[str] = set()
        self._stale = False
        self._load()

    def _load(self) -> None:
        recent: deque[str] = deque(maxlen=SUSPECTS)
        for offset, line in _lines(self.path):
            fields = _parsed(line)
            if fields is None:
                self._stale = True
                continue
            name = str(fields["photo"])
            try:
                self._remember(name, fields, offset)
            except (KeyError, TypeError, AttributeError):  # somebody's hand was in it: no line
                self._stale = True
                continue
            recent.append(name)
        self._suspects = set(recent)

    def _remember(self, name: str, fields: Mapping[str, Any], offset: int) -> None:
        self._stale |= name in self._records
        if fields["status"] == UNDONE:
            self._stale = True
            self._records.pop(name, None)
            return
        source, output = fields.get("source"), fields.get("output")
        self._records[name] = Record(
            fields["status"],
            fields.get("run", ""),
            str(source.get("path", "")) if source else "",
            (source["size"], source["mtime_ns"], source.get("sha256")) if source else None,
            (output["path"], output["size"], output["sha256"]) if output else None,
            frozenset(fields[FILES] if FILES in fields else _may_be_of(output)),
            fields.get("reason", ""),
            offset,
        )

    # ------------------------------------------------------------------ what is known

    def get(self, name: str) -> Record | None:
        """What the report says of a file."""
        return self._records.get(name)

    def files_of(self, item: Item) -> frozenset[Path]:
        """What these runs wrote for this very photo: none where its line speaks of another one that had its place in the tree.

        It is the same one where it is what it was, wherever it lies now, or lies where it lay, whatever it is now. (Lines of earlier
        versions name that place as it was named then.)
        """
        record = self.get(item.name)
        if record is None or record.source is None:
            return frozenset()
        place = os.path.abspath(item.source)
        was_here = place == record.path or place.endswith(os.path.join(os.sep, os.path.normpath(record.path)))
        if not (was_here or is_same(item.source, record.source)):
            return frozenset()
        return frozenset(self.output / path for path in record.files)

    def is_settled(self, item: Item, *, retry_failed: bool = False) -> bool:
        """Whether nothing is to be done for a photo: it is what it was, the options are, and its result is there.

        A photo that failed is settled, too, unless it shall be tried again.
        """
        record = self.get(item.name)
        if record is None or record.run != self.run or record.source is None or not is_same(item.source, record.source):
            return False
        if record.output is None:
            return record.status in (UNMATCHED, FAILED) and not (retry_failed and record.status == FAILED)
        path, size, digest = record.output
        result = self.output / path
        try:
            if result != item.target or not result.is_file() or result.stat().st_size != size:
                return False
        except OSError:
            return False
        return item.name not in self._suspects or has_digest(result, digest)

    # ------------------------------------------------------------------ what is written

    def append(self, name: str, status: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Write a file's line, and answer it; it is on the disk when this returns.

        Raises:
            PhotoError: it cannot be written; the report is as it was.
        """
        line = {"photo": name, "status": status, "run": self.run, **fields}
        data = json.dumps(line).encode() + b"\n"  # ASCII: names that are no UTF-8 come back as they were
        with self._lock, open(self.path, "ab", buffering=0) as file:
            end, rest = file.tell(), memoryview(data)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError as error:
                os.truncate(self.path, end)
                raise PhotoError(f"{self.path}: cannot be written: {error.strerror}") from error
            self._remember(name, line, end)
        return line

    def compact(self) -> None:
        """Rewrite the report with one line for each file where it has others: torn ones, and such as a later one replaces."""
        with self._lock:
            if not self._stale:
                return
            draft = self.path.with_name(f".{REPORT}.part")
            moved: dict[str, Record] = {}
            with open(self.path, "rb") as old, open(draft, "wb") as new:
                for name, record in sorted(self._records.items(), key=lambda pair: pair[1].offset):
                    moved[name] = replace(record, offset=new.tell())
                    old.seek(record.offset)
                    new.write(old.readline())
                new.flush()
                os.fsync(new.fileno())
            os.replace(draft, self.path)
            self._records = moved  # not before: while the disk is full, the old lines are where they were
            self._stale = False


def _may_be_of(output: Mapping[str, Any] | None) -> list[str]:
    """What may have been written with a result, where a line of an earlier version does not say."""
    if not output:
        return []
    place = PurePosixPath(output["path"])
    return [str(place), *(str(place.with_name(place.stem + end)) for end in (MASK_END, COMPARISON_END))]


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their offsets; none where there is no file."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        offset = 0
        for line in file:
            yield offset, line
            offset += len(line)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The line's fields; None where it is torn."""
    try:
        fields = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and {"photo", "status"} <= fields.keys() else None
