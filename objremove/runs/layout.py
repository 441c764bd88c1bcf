"""Where the results of a photo go, and where a run keeps what it knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

STATE = ".objremove"
"""The folder in an output folder in which a run keeps its state; a folder that has one is an output, and is not walked into."""

MASK_END, COMPARISON_END = ".mask.png", ".compare.png"
"""What follows the name of a result, without its suffix, in those of its mask and of before | mask | after."""

REPORT = "report.jsonl"
"""The report of all runs in an output folder."""


@dataclass(frozen=True)
class Item:
    """One photo and the files that may come of it.

    Attributes:
        source: where it is read.
        name: its place in the tree, with slashes: what the report knows it by.
        target: where the result goes.
        mask: where the mask goes, if it was asked for.
        comparison: where before | mask | after goes, if it was asked for.
    """

    source: Path
    name: str
    target: Path
    mask: Path | None = None
    comparison: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All that may be written for it."""
        return tuple(path for path in (self.target, self.mask, self.comparison) if path is not None)


@dataclass(frozen=True)
class Layout:
    """Where results go.

    Attributes:
        output: the output folder.
        extension: of every result, with its dot; None: each photo's own.
        save_mask: a mask beside each result, as .mask.png.
        compare: before | mask | after beside each result, as .compare.png.
    """

    output: Path
    extension: str | None = None
    save_mask: bool = False
    compare: bool = False

    def item(self, source: Path, name: str) -> Item:
        """The photo with its targets."""
        place = self.output / PurePosixPath(name)
        target = place if self.extension is None else place.with_suffix(self.extension)
        return Item(
            source,
            name,
            target,
            target.with_name(target.stem + MASK_END) if self.save_mask else None,
            target.with_name(target.stem + COMPARISON_END) if self.compare else None,
        )
