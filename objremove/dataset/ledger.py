"""What the report of a dataset run remembers beyond that of every run: the files of each photo, and its labels' checksum.

A result is more than its photo. Where it is left out later, all of it must go, for trainers read whatever lies in a folder;
and where its label files change, it is done again.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from objremove.dataset.sample import Change, Edit
from objremove.runs.manifest import FILES, Manifest

CHECKSUM = "label_files_sha256"
"""What the lines of the report call it."""


class Ledger:
    """The files of each photo that a result has, as the report says. Safe from many threads.

    A file may belong to several photos: the original of a pair does, where each of its objects makes one.

    Args:
        manifest: the report.

    Attributes:
        lock: is to be held while files are written that others may own, until they are claimed.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.lock = threading.RLock()
        self._out = manifest.output
        self._files: dict[str, frozenset[str]] = {}
        self._checksums: dict[str, str | None] = {}
        self._owners: Counter[str] = Counter()
        if manifest.path.exists():
            with open(manifest.path, "rb") as report:
                for line in report:
                    self._read(json.loads(line))

    def _read(self, line: Mapping[str, Any]) -> None:
        output = line.get("output")
        self._assign(line["photo"], {*line.get(FILES, ()), *([output["path"]] if output else ())})
        self._checksums[line["photo"]] = line.get(CHECKSUM)

    @property
    def photos(self) -> list[str]:
        """The photos that have files."""
        return [name for name, files in self._files.items() if files]

    def is_labelled_as_before(self, name: str, checksum: str | None) -> bool:
        """Whether the photo's label files are those that its line speaks of."""
        return self._checksums.get(name) == checksum

    def claim(self, name: str, files: Iterable[Path]) -> None:
        """Files that were just written are the photo's, beside those that it has."""
        with self.lock:
            self._assign(name, {*self._files.get(name, ()), *map(self._place, files)})

    def settle(self, name: str, files: Iterable[Path], checksum: str | None) -> dict[str, Any]:
        """The photo has these files and no others: what it had before, and no other photo has, is deleted.

        Returns the fields of its line that say so. The line is to be written next: a crash in between leaves a line whose result is
        missing, which is done again.
        """
        with self.lock:
            gone = self._assign(name, set(map(self._place, files)))
            self._checksums[name] = checksum
            for place in gone:
                (self._out / place).unlink(missing_ok=True)
        return {FILES: sorted(self._files[name]), CHECKSUM: checksum}

    def _assign(self, name: str, files: set[str]) -> list[str]:
        """Give a photo its files, and answer those that are nobody's now."""
        before = self._files.get(name, frozenset())
        self._files[name] = frozenset(files)
        self._owners.update(files - before)
        self._owners.subtract(before - files)
        return [file for file in before - files if not self._owners[file]]

    def _place(self, file: Path) -> str:
        return file.relative_to(self._out).as_posix()


def checksum_of(files: Iterable[Path]) -> str | None:
    """SHA-256 of the label files of one photo; None where it has none."""
    total = hashlib.sha256()
    paths = list(files)
    for path in paths:
        total.update(f"{path.parent.name}/{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest() if paths else None


def plain_edit(edit: Edit) -> dict[str, Any]:
    """An edit as plain data; pairs rather than an object for what changed, for its keys are numbers."""
    return {
        "sample": edit.source,
        "name": edit.name,
        "removed": sorted(edit.removed, key=str),
        "changed": [[key, change.to_dict()] for key, change in edit.changed.items()],
    }


def read_edit(data: Mapping[str, Any]) -> Edit:
    """The inverse of `plain_edit`."""
    changed = {key: Change.from_dict(change) for key, change in data["changed"]}
    return Edit(data["sample"], data["name"], frozenset(data["removed"]), changed)
