"""`objremove classes`: the names that --remove understands."""

from __future__ import annotations

from typing import Annotated

import typer

from objremove.classes import ALIASES, COCO, NAMES, VOC
from objremove.cli.console import OK, print_table


def command(
    segmenter: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only the classes that this model knows.", show_default=False)
    ] = None,
) -> int:
    """List the class names, their numbers in VOC and COCO, and their aliases."""
    from rich.table import Table

    names = NAMES
    if segmenter is not None:
        from objremove import models
        from objremove.errors import UsageError

        known = models.get(segmenter).classes
        if known is None:
            raise UsageError(
                f"model {segmenter!r} knows no classes: take one of {', '.join(models.names('segmenter'))}"
            )
        names = tuple(COCO.values()) if known == "coco" else VOC[1:]
    coco = {name: number for number, name in COCO.items()}
    table = Table("class", "VOC", "COCO", "also", box=None, pad_edge=False)
    for name in names:
        voc = str(VOC.index(name)) if name in VOC else ""
        others = ", ".join(alias for alias, label in ALIASES.items() if label == name)
        table.add_row(name, voc, f"coco:{coco[name]}", others)
    print_table(table)
    return OK
