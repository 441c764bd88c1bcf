"""`objremove evaluate filling|removal`: judge inpainters side by side, and what the segmenter finds (extra `eval`)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from objremove.cli import options
from objremove.cli.console import OK, SOME_FAILED, Speaker
from objremove.cli.output import check_replaceable
from objremove.errors import UsageError
from objremove.wording import counted

if TYPE_CHECKING:
    import torch

    from objremove.evaluation.holes import HoleSet
    from objremove.evaluation.networks import Distance, FrechetDistances
    from objremove.evaluation.output import Cells
    from objremove.training.files import Record

app = typer.Typer(help="Judge fills and removals on photos whose truth is known.", no_args_is_help=True)

_TABLE_WIDTH = 160  # whatever the terminal's: a line of figures broken in two is hard to read

Photos = Annotated[
    list[Path],
    typer.Argument(
        metavar="PHOTOS", help="WebDataset tars or folders of photos (docs/training.md).", show_default=False
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for report.md, tables, plots, contact sheet.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="Take N photos, drawn by the seed.", show_default=False),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of holes, choice of photos, intervals and inpainters.")]


@app.command()
def filling(
    photos: Photos,
    out: Out,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME",
            help="Holes: thin, medium, thick or object, -256 or -512; repeatable. Default: all.",
            show_default=False,
        ),
    ] = None,
    inpainter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Judge this one; repeatable. Default: those without weights.",
            rich_help_panel=options.MODELS,
            show_default=False,
        ),
    ] = None,
    outlines: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH", help="Labelled photos that lend object shapes. Default: PHOTOS.", show_default=False
        ),
    ] = None,
    scenes: Annotated[bool, typer.Option("--scenes", help="Fill only photos without a labelled object.")] = False,
    perceptual: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Backbone for a perceptual distance inside the hole.", show_default=False),
    ] = None,
    lpips: Annotated[
        str, typer.Option(metavar="auto|FILE", help="VGG-16 for LPIPS; auto: 'models pull vgg16' brought it.")
    ] = "auto",
    fid: Annotated[
        str, typer.Option(metavar="auto|FILE", help="Inception for FID; auto: 'models pull fid-inception' brought it.")
    ] = "auto",
    limit: Limit = None,
    seed: Seed = 0,
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    offline: options.Offline = False,
    quiet: options.Quiet = False,
) -> int:
    """Cut holes into photos and compare what inpainters make of them with what was there."""
    speaker = _prepare(out, overwrite=overwrite, quiet=quiet)
    from objremove.device import resolve_device
    from objremove.evaluation.filling import evaluate_filling
    from objremove.evaluation.methods import load_methods
    from objremove.evaluation.photos import read_photos
    from objremove.evaluation.reports import left_out, report_filling
    from objremove.evaluation.statistics import draw_photos
    from objremove.inpainting.classical import CLASSICAL
    from objremove.training.library import PhotoLibrary

    records = read_photos(photos)
    wanted = _chosen_sets(sets, outlines, records)
    if scenes:
        records = [record for record in records if not record.classes]
    if not records:
        raise UsageError("every photo has a labelled object: give others, or leave out --scenes")
    library = PhotoLibrary([records[index] for index in draw_photos(len(records), limit, seed)])
    distances, frechet, notes = _networks(perceptual, lpips, fid, resolve_device(device))
    for note in notes:
        speaker.say(note)
    methods = load_methods(
        inpainter or CLASSICAL, device=device, precision=precision, threads=threads, offline=offline, seed=seed
    )
    with speaker.progress("filling", "photos") as progress:
        result = evaluate_filling(
            library, wanted, methods, distances=distances, frechet=frechet, seed=seed, progress=progress
        )
    if not result.rows:
        raise UsageError(f"none of {len(library)} photos could be used: {left_out(result.failed, result.small)}")
    for title, table in report_filling(out, result, len(library), methods, notes, seed=seed).items():
        _print_table(title, table)
    return _finished(speaker, out, result.failed)


@app.command()
def removal(
    photos: Photos,
    out: Out,
    segmenter: options.Segmenter = "auto",
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Segmenter that looks at the results. Default: the same.",
            rich_help_panel=options.MODELS,
            show_default=False,
        ),
    ] = None,
    inpainter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Remove with this one; repeatable. Default: auto.",
            rich_help_panel=options.MODELS,
            show_default=False,
        ),
    ] = None,
    find_only: Annotated[bool, typer.Option("--find-only", help="Judge what is found, and fill nothing.")] = False,
    conf: options.Confidence = None,
    limit: Limit = None,
    seed: Seed = 0,
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    offline: options.Offline = False,
    quiet: options.Quiet = False,
) -> int:
    """Find and remove labelled objects, and look whether they are gone."""
    if find_only and (inpainter or judge):
        raise UsageError("--find-only fills nothing: leave out --inpainter and --judge")
    speaker = _prepare(out, overwrite=overwrite, quiet=quiet)
    from objremove.evaluation.methods import describe_segmenter, load_methods
    from objremove.evaluation.photos import read_photos
    from objremove.evaluation.removal import evaluate_removal, is_judged
    from objremove.evaluation.reports import left_out, report_removal
    from objremove.evaluation.statistics import draw_photos
    from objremove.remover import Remover
    from objremove.training.library import PhotoLibrary

    records = [record for record in read_photos(photos) if is_judged(record)]
    if not records:
        raise UsageError("no photo has labels by hand (KEY.seg.png; in KEY.json, where there is one, label: human)")
    library = PhotoLibrary([records[index] for index in draw_photos(len(records), limit, seed)])
    shared: dict[str, Any] = {
        "device": device,
        "precision": precision,
        "threads": threads,
        "offline": offline,
        "seed": seed,
    }
    finder = Remover(segmenter, confidence=conf, second_look=False, refine_masks=False, **shared)
    looker = finder
    if judge:
        looker = Remover(judge, confidence=conf, second_look=False, refine_masks=False, **shared)
    names = [] if find_only else inpainter or ["auto"]
    methods = load_methods(names, segmenter, confidence=conf, **shared)
    with speaker.progress("removing", "photos") as progress:
        result = evaluate_removal(library, finder, methods, looker, progress=progress)
    if not result.detection.confusion.any():
        raise UsageError(f"none of {len(library)} photos could be used: {left_out(result.failed)}")
    about = f"{counted(len(library), 'photo')}, segmenter {describe_segmenter(finder)}"
    if methods:
        about += f", judge {describe_segmenter(looker)}"
    for title, table in report_removal(out, result, about, methods, seed=seed).items():
        _print_table(title, table)
    return _finished(speaker, out, result.failed)


def _prepare(out: Path, *, overwrite: bool, quiet: bool) -> Speaker:
    missing = [name for name in ("torchmetrics", "matplotlib") if not importlib.util.find_spec(name)]
    if missing:
        raise UsageError(f"evaluation needs {' and '.join(missing)}: pip install 'objremove[eval]'")
    check_replaceable(out / "report.md", overwrite=overwrite)
    place = next(folder for folder in (out, *out.absolute().parents) if os.path.lexists(folder))
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):  # said now, and not after hours
        raise UsageError(f"--out {out}: {place} is no folder that can be written to: name another")
    return options.speaker(quiet, 0)


def _chosen_sets(
    names: Sequence[str] | None, outlines: Sequence[Path] | None, photos: Sequence[Record]
) -> Mapping[str, HoleSet]:
    """The sets of these names, or all that can be had: those of object shapes where labelled photos lend them."""
    from objremove.evaluation.holes import NAMES, OBJECT_NAMES, hole_sets
    from objremove.training.files import read_records
    from objremove.training.library import PhotoLibrary, ShapeBank

    for name in names or ():
        if name not in NAMES:
            raise UsageError(f"unknown hole set {name!r}: take {', '.join(NAMES)}")
    asked = [name for name in names or OBJECT_NAMES if name in OBJECT_NAMES]
    labelled = (read_records(outlines) if outlines else photos) if asked else []
    lenders = [record for record in labelled if record.classes and record.labels is not None]
    known = hole_sets(ShapeBank(PhotoLibrary(lenders)) if lenders else None)
    if names and asked and not lenders:
        raise UsageError(f"{asked[0]} needs labelled photos that lend their shapes: give --outlines")
    return {name: known[name] for name in names} if names else known


def _networks(
    perceptual: Path | None, lpips: str, fid: str, device: torch.device
) -> tuple[dict[str, Distance], FrechetDistances | None, list[str]]:
    """Scores that need networks, and a line for each that is left empty."""
    from objremove.evaluation import networks

    distances: dict[str, Distance] = {}
    notes = []
    vgg = networks.find_backbone(networks.LPIPS_MODEL, lpips)
    inception = networks.find_backbone(networks.FID_MODEL, fid)
    if vgg:
        distances["lpips"] = networks.lpips(vgg, device)
    else:
        notes.append("LPIPS is left empty: its VGG-16 is not on this machine (objremove models pull vgg16)")
    if perceptual:
        distances["perceptual"] = networks.perceptual_distance(perceptual, device)
    if not inception:
        notes.append("FID is left empty: its Inception is not on this machine (objremove models pull fid-inception)")
    return distances, networks.FrechetDistances(inception, device) if inception else None, notes


def _print_table(title: str, cells: Cells) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*cells[0], title=title, title_justify="left", box=None, pad_edge=False)
    for line in cells[1:]:
        table.add_row(*line)
    Console(highlight=False, width=_TABLE_WIDTH).print(table)


def _finished(speaker: Speaker, out: Path, failed: Mapping[str, str]) -> int:
    for key, reason in failed.items():
        speaker.error(f"{key}: left out: {reason}")
    speaker.say(f"report: {out / 'report.md'}")
    return SOME_FAILED if failed else OK
