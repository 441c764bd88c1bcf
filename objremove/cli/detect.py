"""`objremove detect photo.jpg`: what is there, numbered, so that `--remove person#2` means something."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from objremove.cli import options
from objremove.cli.console import OK, print_table
from objremove.cli.options import OUTPUT, beside
from objremove.cli.output import STANDARD, check_replaceable
from objremove.errors import UsageError

if TYPE_CHECKING:
    from objremove.instances import Instance


def command(
    photo: Annotated[Path, typer.Argument(help="The photo to look at; - reads standard input.", show_default=False)],
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", "-r", metavar="CLASSES", help="Look for these classes only.", show_default=False),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The picture with numbered outlines, png or jpg. Default: .detect.png beside the photo, drawn anew each time.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    second_look: Annotated[
        bool, typer.Option(help="Look again for a class that is named and not surely found.", show_default=False)
    ] = True,
    picture: Annotated[bool, typer.Option(help="Write the picture.", rich_help_panel=OUTPUT)] = True,
    overwrite: options.Overwrite = False,
    conf: options.Confidence = None,
    segmenter: options.Segmenter = "auto",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    offline: options.Offline = False,
    max_megapixels: options.MaxMegapixels = 250.0,
    json_lines: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> int:
    """List what is found, numbered within each class by falling area (finds of a second look last), and draw it.

    Where nothing sure of a class that --remove names is found, a second look is less strict; what it finds is marked so.
    """
    speaker = options.speaker(quiet, verbose)
    if photo.is_dir():
        raise UsageError(f"{photo} is a folder: detect looks at one photo")
    if output == str(STANDARD):
        raise UsageError("detect draws into a file: give --output one, as in --output found.png")
    picture = picture and (photo != STANDARD or output is not None)  # standard input has no name to write beside
    target = beside(photo, ".detect", ".png") if output is None else Path(output)
    kind = _picture_format(target, photo, output) if picture else "PNG"
    if picture:
        check_replaceable(target, overwrite=overwrite or output is None)

    from objremove.drawing import draw_instances, encode_picture
    from objremove.instances import count_objects
    from objremove.photo import write_atomic
    from objremove.remover import Remover
    from objremove.targets import absent, numbered, parse_targets, picked, without_numbers

    classes = remove or ["all"]
    with speaker.progress("fetching", "bytes") as fetching:
        remover = Remover(
            segmenter,
            device=device,
            precision=precision,
            confidence=conf,
            second_look=second_look,
            refine_masks=False,
            offline=offline,
            threads=threads,
            max_megapixels=max_megapixels,
            on_download=fetching,
        )
        opened = remover.open(sys.stdin.buffer.read() if photo == STANDARD else photo)
        instances = remover.find(opened, without_numbers(classes))
    found = [(f"{one.label}#{number}", one) for number, one in picked(numbered(instances), classes)]
    total = count_objects(one for _, one in found).total()
    for note in absent(instances, parse_targets(classes)):
        speaker.warn(str(photo), note)
    if json_lines:
        height, width = opened.size
        items = [{"name": name, **one.to_dict()} for name, one in found]
        print(json.dumps({"photo": str(photo), "width": width, "height": height, "instances": items}), flush=True)
    else:
        _print_table(found)
    if picture:
        write_atomic(target, encode_picture(draw_instances(opened.pixels, found), kind))
        speaker.say(f"{photo}: {total} found -> {target}")
    else:
        speaker.say(f"{photo}: {total} found")
    return OK


def _picture_format(target: Path, photo: Path, output: str | None) -> str:
    """PNG or JPEG, as the name of the picture says; UsageError where it may not be written there."""
    from objremove.photo import format_name

    kind = format_name(target.suffix or None) or "PNG"
    if kind not in ("PNG", "JPEG"):
        raise UsageError(f"detect draws png or jpg, not {target.suffix}: name another --output")
    if output is not None and output.endswith(("/", os.sep)):
        raise UsageError(f"{output} is a folder: give --output a file in it")
    if target.exists() and photo.exists() and target.samefile(photo):
        raise UsageError(f"{target} is the photo itself: name another --output")
    return kind


def _print_table(found: list[tuple[str, Instance]]) -> None:
    from rich.table import Table

    table = Table("object", "score", "box x0,y0,x1,y1", "area %", "", box=None, pad_edge=False)
    for name, one in found:
        share = 100 * one.area / (one.size[0] * one.size[1])
        more = f"more of {one.label}, " if one.extends else ""
        look = f"{more}only at a second look" if one.second_look else ""
        table.add_row(name, f"{one.score:.2f}", ",".join(map(str, one.box)), f"{share:.2f}", look)
    print_table(table)
