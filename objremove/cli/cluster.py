"""`objremove cluster`: a folder run on many machines (extra `ray`)."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from objremove.cli import options
from objremove.cli.console import INTERRUPTED, OK, Speaker, stdout_kept_clean
from objremove.cli.masks import file_sums, read_masks
from objremove.cli.meter import Meter, say_tally, tally_code
from objremove.cli.options import FOLDERS, MASK, OUTPUT
from objremove.errors import UsageError
from objremove.wording import counted

if TYPE_CHECKING:
    from objremove.cluster.plan import Plan
    from objremove.cluster.run import Outcome

WORKERS = "Cluster"


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Folders, 'patterns', .tar and .parquet files, as paths or URLs (s3://…) that every worker can read.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="A path or URL that every worker can write.",
            rich_help_panel=OUTPUT,
        ),
    ],
    remove: options.Remove = None,
    keep: options.Keep = None,
    point: options.Points = None,
    box: options.Boxes = None,
    mask: options.Masks = None,
    address: Annotated[
        str,
        typer.Option(
            metavar="local|auto|HOST:PORT|ray://HOST:PORT",
            help="local: start Ray on this machine; auto: the cluster that this machine belongs to.",
            rich_help_panel=WORKERS,
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Each holds the models; default: all that fit.",
            rich_help_panel=WORKERS,
            show_default=False,
        ),
    ] = None,
    cores_per_worker: Annotated[
        int | None,
        typer.Option(
            min=1, help="Default: 4, or all of a smaller machine.", rich_help_panel=WORKERS, show_default=False
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Default: 1 where there are GPUs.",
            rich_help_panel=WORKERS,
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        int,
        typer.Option(
            min=1,
            help="Photos that are written down together.",
            rich_help_panel=WORKERS,
        ),
    ] = 32,
    image_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of the pictures in Parquet files; default: the only one.",
            rich_help_panel=WORKERS,
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="jpg, png, webp …; default: each photo's own.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    quality: options.Quality = None,
    save_mask: options.SaveMask = False,
    overwrite: options.Overwrite = False,
    unmatched: Annotated[
        Literal["skip", "copy"],
        typer.Option(help="Photos in which nothing was found: leave out, or copy.", rich_help_panel=FOLDERS),
    ] = "skip",
    dry_run: options.DryRun = False,
    limit: options.Limit = None,
    retry_failed: options.RetryFailed = False,
    again: options.Again = False,
    conf: options.Confidence = None,
    dilate: options.Dilate = "auto",
    feather: options.Feather = None,
    second_look: Annotated[
        bool,
        typer.Option(
            "--second-look/--no-second-look",
            help="Look again for a class that is named and not surely found.",
            rich_help_panel=MASK,
        ),
    ] = False,
    refine_masks: options.RefineMasks = None,
    segmenter: options.Segmenter = "auto",
    inpainter: options.Inpainter = "auto",
    prompter: options.Prompter = "auto",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    seed: options.Seed = 0,
    max_megapixels: options.MaxMegapixels = 250.0,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> int:
    """Remove objects from the photos of folders, tars and Parquet files on a Ray cluster.

    The same command goes on after whatever happens.
    """
    if not (remove or point or box or mask):
        raise UsageError(
            "say what to remove: --remove person,car (or --point, --box, --mask); 'objremove classes' lists the names"
        )
    if not all(importlib.util.find_spec(name) for name in ("ray", "pyarrow", "fsspec")):
        raise UsageError("a cluster run needs a few packages more: pip install 'objremove[ray]'")
    from objremove.cluster.machines import Workers
    from objremove.cluster.plan import Settings, look
    from objremove.cluster.run import run
    from objremove.cluster.worker import Task
    from objremove.photo import format_name
    from objremove.remover import Remover
    from objremove.targets import parse_targets, spelled

    speaker = options.speaker(quiet, verbose)
    settings = Settings(batch, limit, retry_failed, again, overwrite)
    format_name(format)  # an unknown one is said before any work is done
    chosen: dict[str, Any] = {"format": format, "quality": quality, "save_mask": save_mask, "unmatched": unmatched}
    task = Task({}, {}, {}, output, image_column=image_column, environment=_environment(), **chosen)
    if dry_run:
        return _show(look(inputs, task, settings), speaker)
    named: dict[str, Any] = {"remove": remove or [], "keep": keep or [], "points": point or [], "boxes": box or []}
    parse_targets(**named)
    masks = read_masks(mask or [], max_megapixels)
    how: dict[str, Any] = {
        "segmenter": segmenter,
        "inpainter": inpainter,
        "prompter": prompter,
        "device": device,
        "precision": precision,
        "confidence": conf,
        "dilate": dilate,
        "feather": feather,
        "second_look": second_look,
        "refine_masks": refine_masks,
        "seed": seed,
        "max_megapixels": max_megapixels,
    }
    # Fetched here, once: a thousand workers that did so at the same moment would be a burden to whoever keeps the weights.
    with speaker.progress("fetching", "bytes") as fetching:
        models = Remover(**how, offline=offline, on_download=fetching).prepare(**named)
    spellings = {"remove": spelled(named["remove"]), "keep": spelled(named["keep"])}
    decides = {**named, **spellings, "masks": file_sums(mask or []), **how, **chosen, **models}
    del decides["device"]
    task = replace(task, remover=how, request={**named, "masks": masks}, models=models)
    wanted = Workers(workers, cores_per_worker, 0 if device == "cpu" else gpus_per_worker)
    with ClusterMeter(speaker) as meter, stdout_kept_clean():
        outcome = run(inputs, task, decides, settings, wanted, address=address, listener=meter)
    return _end(outcome, output, speaker)


def _environment() -> dict[str, str]:
    """What workers on other machines must know of this process's environment."""
    return {name: os.environ[name] for name in ("OBJREMOVE_HOME", "OMP_WAIT_POLICY") if name in os.environ}


def _show(plan: Plan, speaker: Speaker) -> int:
    """Say what would be done, a line for each file on standard output."""
    for unit in plan.units:
        for file in unit.files:
            stop = "" if unit.stop is None else f" (the first {counted(unit.stop, 'photo')} at most)"
            print(f"{file.url} -> {file.name}{stop}")
    for name, reason in plan.skipped:
        print(f"{name}: skipped, {reason}")
    speaker.say(f"{counted(plan.photos, 'photo')} and {_shards(plan.shards)}; nothing was written")
    return OK


def _end(outcome: Outcome, output: str, speaker: Speaker) -> int:
    """Say what became of the run; the exit code."""
    say_tally(outcome.tally, output.rstrip("/"), speaker)
    if outcome.unfinished:
        speaker.say(f"{_shards(outcome.unfinished)} not done to the end: the same command goes on")
    return INTERRUPTED if outcome.interrupted else tally_code(outcome.tally, outcome.unfinished)


def _shards(count: int) -> str:
    return counted(count, "file of photos", "files of photos")


class ClusterMeter(Meter):
    """A `objremove.cluster.run.Listener`.

    How many photos lie in a tar nobody knows before it is read: where there are any, there is a rate and no end in sight.
    """

    def begins(self, plan: Plan) -> None:
        """See `Listener`."""
        if plan.settled:
            self._speaker.say(f"{counted(plan.settled, 'photo')} done already")
        shards = f" and {_shards(plan.shards)}" if plan.shards else ""
        self._speaker.say(f"{counted(plan.photos, 'photo')}{shards} to do")
        if plan.units:
            self.start(None if plan.shards else plan.photos)

    def goes_on(self, photos: int) -> None:
        """See `Listener`."""
        self.reach(photos)

    def failed(self, name: str, reason: str) -> None:
        """See `Listener`."""
        self._failed += 1
        self._speaker.error(f"{name}: {reason}")
