"""The options of the runs in one output: its results were all made by the same ones, or are made anew.

They are kept as JSON, with the number of times that all was made anew. A short name for both is what every line of the report bears.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from objremove.errors import UsageError
from objremove.photo import write_atomic
from objremove.runs.layout import REPORT, STATE

OPTIONS = f"{STATE}/options.json"
"""Where an output folder keeps them."""


@dataclass(frozen=True)
class Options:
    """The options of a run.

    Attributes:
        values: all that decides what results look like, as plain data.
        number: 1, and one more each time that all was made anew.
    """

    values: Mapping[str, Any]
    number: int = 1

    @classmethod
    def read(cls, data: bytes, where: str) -> Options:
        """The inverse of `encoded`; UsageError where they are damaged, which says `where` they are."""
        try:
            known = json.loads(data)
            return cls(dict(known["options"]), int(known["number"]))
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"{where} is damaged: delete it, and give the command again") from None

    @property
    def encoded(self) -> bytes:
        """What the file of them holds."""
        return json.dumps({"number": self.number, "options": self.values}, indent=1, sort_keys=True).encode()

    @property
    def name(self) -> str:
        """A short name."""
        return hashlib.sha256(self.encoded).hexdigest()[:12]


def agreed(known: Options | None, values: Mapping[str, Any], *, begun: bool, again: bool, where: str) -> Options:
    """The options of a run in an output whose earlier runs had those that are `known`.

    Args:
        known: None: no run was there.
        values: all that decides what results look like, as plain data.
        begun: an earlier run came to its first photo; options of one that was refused before that bind nobody.
        again: all is made anew.
        where: the output, for the error.

    Raises:
        UsageError: they differ, and `again` does not say that everything shall be done anew.
    """
    plain = json.loads(json.dumps(values))
    if known is None:
        return Options(plain)
    differ = known.values != plain
    if differ and begun and not again:
        raise UsageError(
            f"{where} holds results of other options ({_differences(known.values, plain)}): "
            "add --again to do all photos anew, or name another --output"
        )
    return Options(plain, known.number + (again or differ))


def begin(output: Path, values: Mapping[str, Any], *, again: bool, dry: bool = False) -> str:
    """Hold the options of a run against those of the runs before it in the same output folder, and remember them.

    Returns a short name for these options, which every line of the report bears; with `again` it is a new one. With `dry` nothing is
    written, and options that are not given are taken to be what they were.

    Raises:
        UsageError: they differ, and `again` does not say that everything shall be done anew.
    """
    path = output / OPTIONS
    known = Options.read(path.read_bytes(), str(path)) if path.exists() else None
    if dry and known is not None:
        values = {**known.values, **values}
    options = agreed(known, values, begun=(output / REPORT).exists(), again=again, where=str(output))
    if not dry and options != known:
        write_atomic(path, options.encoded)
    return options.name


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What has changed between the options of two runs, in words, by name."""
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return "; ".join(f"{name} was {_said(before.get(name))}, is {_said(now.get(name))}" for name in names)


def _said(value: Any) -> str:
    """A value in the words of the command line."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "nothing"
    return "not given" if value is None else str(value)
