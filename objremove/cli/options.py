"""Options that more than one command has, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from objremove.cli.console import Speaker

WHAT, OUTPUT, FOLDERS, MASK = "What to remove", "Output", "Folders", "Mask"
MODELS, TALK = "Models and machine", "Messages"
"""Panels of the help."""

Photos = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PHOTO|FOLDER",
        help="Photos to work on; '-' reads one from standard input. Folders (and 'quoted/**/*.jpg' patterns) go with --output.",
        show_default=False,
    ),
]
Remove = Annotated[
    list[str] | None,
    typer.Option(
        "--remove",
        "-r",
        metavar="CLASSES",
        help="Class names, e.g. person,car; person#2 or person#1-3 pick instances as 'detect' numbers them; all.",
        rich_help_panel=WHAT,
        show_default=False,
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CLASSES",
        help="Of what --remove names, leave these: the same grammar, or largest, center.",
        rich_help_panel=WHAT,
        show_default=False,
    ),
]
Points = Annotated[
    list[str] | None,
    typer.Option(
        metavar="X,Y[,-]",
        help="The object at this pixel of each photo; with a minus, what is not part of it. May be repeated.",
        rich_help_panel=WHAT,
        show_default=False,
    ),
]
Boxes = Annotated[
    list[str] | None,
    typer.Option(
        metavar="X0,Y0,X1,Y1",
        help="The object in this box of each photo. May be repeated.",
        rich_help_panel=WHAT,
        show_default=False,
    ),
]
Masks = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="A picture of each photo's size, white where to remove. May be repeated.",
        rich_help_panel=WHAT,
        show_default=False,
    ),
]
Quality = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100,
        help="Re-encode with this quality. By default a JPEG's untouched blocks stay as they are.",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
]
SaveMask = Annotated[
    bool, typer.Option("--save-mask", help="Also write the mask, as .mask.png.", rich_help_panel=OUTPUT)
]
Dilate = Annotated[
    str,
    typer.Option(
        metavar="auto|N|N%", help="Grow each object by pixels, or by a share of its size.", rich_help_panel=MASK
    ),
]
Feather = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Width in pixels of the soft edge in the grown ring; default: by the growth.",
        rich_help_panel=MASK,
        show_default=False,
    ),
]
RefineMasks = Annotated[
    bool | None,
    typer.Option(
        "--refine-masks/--no-refine-masks",
        help="Sharpen outlines with SAM; default: where its weights are here.",
        rich_help_panel=MASK,
        show_default=False,
    ),
]
Segmenter = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help="Finds objects by class: a name of 'objremove models list' or a weight file; auto: the best that is here.",
        rich_help_panel=MODELS,
    ),
]
Inpainter = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE|FOLDER",
        help="Fills the hole: big-lama, lama-compact …, or LaMa weights; auto: the best that is here.",
        rich_help_panel=MODELS,
    ),
]
Prompter = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE", help="Draws masks for points and boxes: sam_vit_b …, grabcut.", rich_help_panel=MODELS
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**31 - 1, help="For inpainters that draw random numbers.", rich_help_panel=MODELS)
]
Confidence = Annotated[
    float | None,
    typer.Option(
        "--conf", metavar="0..1", help="Least score of what counts as found.", rich_help_panel=MASK, show_default=False
    ),
]
Device = Annotated[
    str, typer.Option(metavar="auto|cpu|cuda|cuda:N|mps", help="Where the networks run.", rich_help_panel=MODELS)
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="auto|fp32|bf16",
        help="auto: bf16 where the processor has it, Fourier transforms always in fp32.",
        rich_help_panel=MODELS,
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Processor threads.", rich_help_panel=MODELS, show_default=False)
]
Offline = Annotated[bool, typer.Option("--offline", help="Never download.", rich_help_panel=MODELS)]
MaxMegapixels = Annotated[
    float, typer.Option(help="Larger photos are refused before they are decoded.", rich_help_panel=MODELS)
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="One line of JSON for each photo on standard output; on standard error where the photo itself goes there.",
        rich_help_panel=TALK,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.", rich_help_panel=TALK)]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose", "-v", count=True, help="Say more; -vv adds tracebacks.", rich_help_panel=TALK, show_default=False
    ),
]
ListFile = Annotated[
    str | None,
    typer.Option(
        "--list",
        metavar="FILE|-",
        help="Photos listed in a file, one a line, # begins a comment; '-' reads the list from standard input.",
        rich_help_panel=FOLDERS,
        show_default=False,
    ),
]
Recursive = Annotated[
    bool, typer.Option("--recursive/--no-recursive", help="Go into folders of folders.", rich_help_panel=FOLDERS)
]
Unmatched = Annotated[
    Literal["skip", "copy", "link"],
    typer.Option(help="Photos in which nothing was found: leave out, copy, or hard-link.", rich_help_panel=FOLDERS),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.", rich_help_panel=FOLDERS)
]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1, help="So many photos at most; the next run goes on.", rich_help_panel=FOLDERS, show_default=False
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        help="Photos that are worked on at a time; default: one for each core.",
        rich_help_panel=FOLDERS,
        show_default=False,
    ),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try those again that failed before.", rich_help_panel=FOLDERS)
]
Again = Annotated[
    bool, typer.Option("--again", help="Do all photos anew, with other options if you like.", rich_help_panel=FOLDERS)
]
Watch = Annotated[
    bool,
    typer.Option("--watch", help="Go on with what comes into the folders, until Ctrl-C.", rich_help_panel=FOLDERS),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.", rich_help_panel=OUTPUT)]


def _version(asked: bool) -> None:
    if asked:
        from objremove import __version__

        print(f"objremove {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.", rich_help_panel=TALK)
]


def speaker(quiet: bool, verbose: int) -> Speaker:
    """The speaker that `--quiet` and `-v` ask for."""
    return Speaker(-1 if quiet else verbose)


def beside(photo: Path, suffix: str, extension: str | None = None) -> Path:
    """`photo.jpg` with `.removed` before its extension: `photo.removed.jpg`."""
    return photo.with_name(photo.stem + suffix + (extension if extension is not None else photo.suffix))
