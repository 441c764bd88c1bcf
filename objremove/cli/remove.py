"""The main command: `objremove --remove person,car photo.jpg`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from objremove.cli import options
from objremove.cli.console import FAILED, exit_code, stdout_kept_clean
from objremove.cli.folder import Folders, remove_from_folders, show
from objremove.cli.masks import file_sums, read_masks
from objremove.cli.options import MASK, OUTPUT
from objremove.cli.output import STANDARD, Output, Task
from objremove.cli.report import Report
from objremove.errors import ObjRemoveError, UsageError

if TYPE_CHECKING:
    from objremove.remover import Remover

EPILOG = (
    "Beside it: objremove detect (what is in a photo, numbered), serve (a page to click on), dataset (photos with their labels), "
    "cluster (many machines), models, classes, doctor, evaluate, train; each has its --help. "
    "Exit codes: 0 all well, 1 failure, 2 usage (a photo or folder that is not there, too), 3 some photos failed, 130 interrupted. "
    "A photo in which nothing of what was named is found is left alone, and said so."
)


def command(
    photos: options.Photos = None,
    remove: options.Remove = None,
    keep: options.Keep = None,
    point: options.Points = None,
    box: options.Boxes = None,
    mask: options.Masks = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER|-",
            help="Where to write; a folder (written with a / at its end if it is new) for several photos; "
            "'-' is standard output. Default: beside the photo.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    suffix: Annotated[
        str, typer.Option(help="Put before the extension of a result beside its photo.", rich_help_panel=OUTPUT)
    ] = ".removed",
    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="jpg, png, webp, tiff, avif …; default: what the output's name says, or else the photo's own.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    quality: options.Quality = None,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="Replace the photo; the original stays as PHOTO.orig.", rich_help_panel=OUTPUT),
    ] = False,
    overwrite: options.Overwrite = False,
    save_mask: options.SaveMask = False,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also write before | mask | after, as .compare.png.", rich_help_panel=OUTPUT),
    ] = False,
    list_file: options.ListFile = None,
    recursive: options.Recursive = True,
    unmatched: options.Unmatched = "skip",
    dry_run: options.DryRun = False,
    limit: options.Limit = None,
    jobs: options.Jobs = None,
    retry_failed: options.RetryFailed = False,
    again: options.Again = False,
    watch: options.Watch = False,
    conf: options.Confidence = None,
    dilate: options.Dilate = "auto",
    feather: options.Feather = None,
    second_look: Annotated[
        bool | None,
        typer.Option(
            "--second-look/--no-second-look",
            help="Look again for a class that is named and not surely found; default: for single photos, not for folders.",
            rich_help_panel=MASK,
            show_default=False,
        ),
    ] = None,
    refine_masks: options.RefineMasks = None,
    segmenter: options.Segmenter = "auto",
    inpainter: options.Inpainter = "auto",
    prompter: options.Prompter = "auto",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    offline: options.Offline = False,
    seed: options.Seed = 0,
    max_megapixels: options.MaxMegapixels = 250.0,
    json_lines: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    version: options.Version = False,
) -> int:
    """Remove objects from photos by naming them; every pixel that is not removed stays exactly as it was."""
    report = Report(options.speaker(quiet, verbose), json_lines)
    if not (remove or point or box or mask):
        raise UsageError(
            "say what to remove: --remove person,car (or --point, --box, --mask); 'objremove classes' lists the names"
        )
    where = Output(output, suffix, format, quality, in_place, overwrite, save_mask, compare)
    named = photos or []
    folders = Folders(named, list_file, recursive, unmatched, dry_run, limit, jobs, retry_failed, again, watch)
    if not (named or list_file):
        raise UsageError("missing PHOTO: name photos or folders, or list them with --list")
    if not all(named):
        raise UsageError("a PHOTO is the empty text (a variable that is not set?): name a file or folder")
    from objremove.targets import parse_targets, spelled

    request: dict[str, Any] = {"remove": remove or [], "keep": keep or [], "points": point or [], "boxes": box or []}
    parse_targets(**request)  # what cannot be read is said before any work is done
    folders.check(where)
    plan, tasks = None, []
    if folders.asked:
        plan = folders.plan(where)
    else:
        tasks = where.plan(_expand(named), mask or [])

    masks = read_masks(mask or [], max_megapixels)
    second_look = plan is None if second_look is None else second_look
    decides = {
        **request,
        "remove": spelled(request["remove"]),
        "keep": spelled(request["keep"]),
        "masks": file_sums(mask or []),
        "confidence": conf,
        "dilate": dilate,
        "feather": feather,
        "second look": second_look,
        "refine masks": refine_masks,
        "precision": precision,
        "seed": seed,
        "format": format,
        "quality": quality,
        "save mask": save_mask,
        "compare": compare,
        "unmatched": unmatched,
    }
    if plan is not None and dry_run:
        return show(decides, folders, plan, where, as_json=json_lines, speaker=report.speaker)

    from objremove.remover import Remover

    with report.speaker.progress("fetching", "bytes") as fetching:
        remover = Remover(
            segmenter,
            inpainter,
            prompter=prompter,
            device=device,
            precision=precision,
            confidence=conf,
            dilate=dilate,
            feather=feather,
            second_look=second_look,
            refine_masks=refine_masks,
            offline=offline,
            threads=threads,
            seed=seed,
            max_megapixels=max_megapixels,
            on_download=fetching,
        )
        if plan is not None or any(task.photo == STANDARD or os.path.exists(task.photo) for task in tasks):
            models = remover.prepare(**request)  # what is wrong with the request is said once, and not of each photo
        if plan is None:
            return _remove_from_all(remover, tasks, {**request, "masks": masks}, where, report)
    return remove_from_folders(
        remover,
        {**request, "masks": masks},
        {**decides, **models},
        folders,
        plan,
        where,
        as_json=json_lines,
        speaker=report.speaker,
    )


def _expand(photos: Sequence[str]) -> list[Path]:
    """The photos named on the command line; further classes, as after `--remove 3 15`, would land here and are explained."""
    from objremove.targets import is_class

    for photo in photos:
        if os.path.exists(photo):
            continue
        if "://" in photo:
            raise UsageError(
                f"{photo} is an address: fetch it first, as in curl -s {photo} | objremove ... - > clean.jpg"
            )
        if photo.isdigit():
            raise UsageError(f"no photo is called {photo}: several class numbers go together, as in --remove 3,{photo}")
        if is_class(photo):
            raise UsageError(f"no photo is called {photo}: several classes go together, as in --remove dog,{photo}")
    return [Path(photo) for photo in photos]


def _remove_from_all(
    remover: Remover, tasks: Sequence[Task], request: dict[str, Any], where: Output, report: Report
) -> int:
    """Run the request over every photo; one that fails, in whatever way, doesn't stop the others."""
    codes = []
    for task in tasks:
        try:
            with report.speaker.progress(f"filling {task.photo.name}", "windows") as filling, stdout_kept_clean():
                result = remover(task.source(), **request, progress=filling)
            warnings = where.write(result, task)
        except BrokenPipeError:
            raise
        except Exception as error:
            report.failed(task, error)
            codes.append(error.exit_code if isinstance(error, ObjRemoveError) else FAILED)
        else:
            report.done(task, result, warnings)
    if codes and len(tasks) > 1:
        report.speaker.say(f"{len(tasks) - len(codes)} of {len(tasks)} photos done, {len(codes)} failed")
    return exit_code(codes, len(tasks))
