"""`objremove dataset`: a labelled dataset without some of its objects, photos and labels alike."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from objremove.cli import options
from objremove.cli.console import FAILED, OK, SOME_FAILED
from objremove.cli.meter import RunMeter, say_tally
from objremove.cli.options import MASK, MODELS, OUTPUT, WHAT
from objremove.errors import UsageError

if TYPE_CHECKING:
    from objremove.dataset.plan import Dataset

SAMPLING = "Which photos"


def command(
    remove: Annotated[
        list[str],
        typer.Option(
            "--remove",
            "-r",
            metavar="CLASSES",
            help="Classes in the dataset's own words, or all.",
            rich_help_panel=WHAT,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="The new dataset.", rich_help_panel=OUTPUT)
    ],
    coco: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="COCO instances; repeat with --images for other splits.", show_default=False),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="The photos of the --coco file in the same place.", show_default=False),
    ] = None,
    voc: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Pascal VOC: the folder of JPEGImages.", show_default=False)
    ] = None,
    yolo: Annotated[
        Path | None, typer.Option(metavar="FILE|FOLDER", help="YOLO: data.yaml or classes.txt.", show_default=False)
    ] = None,
    mode: Annotated[
        Literal["clean", "counterfactual", "negatives"],
        typer.Option(
            help="clean: the dataset without the objects; counterfactual: pairs with and without, and the masks of "
            "what differs; negatives: only photos from which the classes went.",
            rich_help_panel=OUTPUT,
        ),
    ] = "clean",
    per_instance: Annotated[
        bool, typer.Option("--per-instance", help="A photo for each object that goes.", rich_help_panel=OUTPUT)
    ] = False,
    untouched: Annotated[
        Literal["link", "copy", "omit"] | None,
        typer.Option(
            help="Photos that are not edited: hard-linked, copied or left out. Default: link with --mode clean.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Do all photos anew.", rich_help_panel=OUTPUT)] = False,
    fraction: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Share of photos to edit; of objects with --per-instance.", rich_help_panel=SAMPLING
        ),
    ] = 1.0,
    seed: Annotated[
        int,
        typer.Option(
            min=0, max=2**31 - 1, help="For --fraction, and inpainters that draw numbers.", rich_help_panel=SAMPLING
        ),
    ] = 0,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="So many photos of each split at most.", rich_help_panel=SAMPLING, show_default=False),
    ] = None,
    crowd: Annotated[
        Literal["region", "skip"],
        typer.Option(help="COCO crowds: remove the whole region, or leave the photo out.", rich_help_panel=WHAT),
    ] = "region",
    masks: Annotated[
        Literal["annotations", "segmenter", "both"],
        typer.Option(help="Where masks come from; boxes become masks by the prompter.", rich_help_panel=MASK),
    ] = "annotations",
    check: Annotated[
        int,
        typer.Option(
            min=0,
            help="Look again with the segmenter; grow and refill up to this often what it still finds.",
            rich_help_panel=MASK,
        ),
    ] = 0,
    min_visible: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Neighbours of which less is left lose their label.", rich_help_panel=MASK),
    ] = 0.25,
    max_hole: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Photos of which more would be filled are left out.", rich_help_panel=MASK),
    ] = 0.75,
    conf: options.Confidence = None,
    dilate: options.Dilate = "auto",
    segmenter: options.Segmenter = "auto",
    inpainter: options.Inpainter = "auto",
    prompter: options.Prompter = "auto",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", "-j", min=1, help="Photos worked on at a time.", rich_help_panel=MODELS, show_default=False
        ),
    ] = None,
    offline: options.Offline = False,
    max_megapixels: options.MaxMegapixels = 250.0,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> int:
    """Take objects out of a labelled dataset: cleaned photos, and labels that are true of them."""
    from objremove.dataset.plan import Settings
    from objremove.dataset.run import run
    from objremove.dataset.vocabulary import resolve
    from objremove.remover import Remover
    from objremove.runs.layout import STATE
    from objremove.runs.output import opened

    speaker = options.speaker(quiet, verbose)
    datasets = _datasets(coco or [], images or [], voc, yolo)
    known = tuple(dict.fromkeys(label for dataset in datasets for label in dataset.classes))
    plain = mode == "clean" and not per_instance
    settings = Settings(
        labels=resolve(remove, known),
        mode=mode,
        masks=masks,
        per_instance=per_instance,
        fraction=fraction,
        seed=seed,
        untouched=untouched or ("link" if plain else "omit"),
        crowd=crowd,
        min_visible=min_visible,
        max_hole=max_hole,
        check=check,
        limit=limit,
        jobs=jobs,
    )
    if output.exists() and not (output / STATE).is_dir() and any(os.scandir(output)):
        raise UsageError(f"{output} is not empty, and no run made it: name another --output")
    with speaker.progress("fetching", "bytes") as fetching:
        remover = Remover(
            segmenter,
            inpainter,
            prompter=prompter,
            device=device,
            precision=precision,
            confidence=conf,
            dilate=dilate,
            second_look=False,  # of many photos, few show every class
            offline=offline,
            threads=threads,
            seed=seed,
            max_megapixels=max_megapixels,
            on_download=fetching,
        )
        remover.prepare()
    memory = {
        "sources": {str(path.resolve()): _digest(path) for path in (*(coco or ()), voc, yolo) if path is not None},
        "labels": settings.labels,
        **{name: getattr(settings, name) for name in _DECISIVE},
        "models": [segmenter, inpainter, prompter],
        "filled by": remover.shelf.identity(remover.inpainter()),
        "mask": [conf, dilate],
    }
    with opened(output, memory, again=again) as manifest, RunMeter(speaker) as meter:
        tally = run(remover, datasets, settings, manifest, listener=meter)
    say_tally(tally, output, speaker)
    if not tally.files["failed"]:
        return OK
    return SOME_FAILED if sum(tally.files.values()) > tally.files["failed"] else FAILED


_DECISIVE = (
    "mode", "masks", "per_instance", "fraction", "seed", "untouched", "crowd", "min_visible", "max_hole", "check",
)  # fmt: skip
"""Settings that decide what results look like; others may differ from one run to the next."""


def _datasets(coco: Sequence[Path], images: Sequence[Path], voc: Path | None, yolo: Path | None) -> list[Dataset]:
    """The dataset that the command line names, or the splits of it.

    Raises:
        UsageError: none or several kinds are named; a path is not there; two splits would be written to one place.
        DatasetError: it cannot be read.
    """
    if bool(coco) + (voc is not None) + (yolo is not None) != 1:
        raise UsageError("name one dataset: --coco FILE --images FOLDER, --voc FOLDER, or --yolo data.yaml")
    if len(coco) != len(images):
        raise UsageError(f"{len(coco)} --coco files and {len(images)} folders of --images: give one for each")
    for path in (*coco, *images, *(one for one in (voc, yolo) if one is not None)):
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
    if voc is not None:
        from objremove.dataset.voc import VocDataset

        return [VocDataset(voc)]
    if yolo is not None:
        from objremove.dataset.yolo import YoloDataset

        return [YoloDataset(yolo)]
    from objremove.dataset.coco import CocoDataset

    for paths, kind in ((coco, "files"), (images, "folders")):
        if len({path.resolve().name for path in paths}) < len(paths):
            raise UsageError(
                f"two --coco splits have {kind} of one name, and would be written to one place: rename one"
            )
    return [CocoDataset(path, folder) for path, folder in zip(coco, images, strict=True)]


def _digest(path: Path) -> str | None:
    """SHA-256 of an annotation file, or of what a YOLO folder has for one; a VOC folder is known by its name alone."""
    from objremove.dataset.yolo import find_file
    from objremove.runs.checksums import file_digest

    file = find_file(path)
    return file_digest(file) if file is not None else None
