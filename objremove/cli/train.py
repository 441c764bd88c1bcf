"""`objremove train inpainter|segmenter`: train the networks that ship, or larger ones (extra `train`)."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from objremove.cli.console import INTERRUPTED, OK, Speaker
from objremove.cli.output import check_replaceable
from objremove.errors import UsageError
from objremove.wording import counted

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from rich.progress import Progress, TaskID

    from objremove.training.config import DataConfig, InpainterConfig, SegmenterConfig
    from objremove.training.files import Record
    from objremove.training.library import PhotoLibrary
    from objremove.training.loop import Outcome
    from objremove.training.recipe import Recipe

app = typer.Typer(help="Train the inpainter or the class segmenter; average what came of it.", no_args_is_help=True)

_LINE_SECONDS = 30.0

Data = Annotated[
    list[Path],
    typer.Option(
        "--data", metavar="PATH", help="Tar files, or a folder of photos or of train-*.tar and val-*.tar; repeatable."
    ),
]
Validation = Annotated[
    list[Path] | None,
    typer.Option(
        "--val",
        metavar="PATH",
        help="Photos to judge by, as --data; never trained on. Default: val-*.tar beside the training tars.",
        show_default=False,
    ),
]
Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder for weights, checkpoint, previews and records.")
]
Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes", min=0.01, help="Time budget over all sittings; the schedule spans it.", show_default=False
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option("--resume", metavar="DIR|FILE", help="Go on from this run's last.ckpt.", show_default=False),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Remove the files of an earlier run in DIR first.")]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda|cuda:N|mps", help="Where to train.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Processor threads; 1 where others use the machine too.", show_default=False),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Replace a setting, e.g. loop.batch=8; repeatable.", show_default=False
    ),
]


@app.command()
def inpainter(
    data: Data,
    out: Out,
    config: Annotated[str, typer.Option("--config", metavar="NAME|FILE", help="Settings.")] = "lama-compact",
    val: Validation = None,
    minutes: Minutes = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
    init: Annotated[
        Path | None, typer.Option("--init", metavar="FILE", help="Start from this generator.", show_default=False)
    ] = None,
    init_discriminator: Annotated[
        Path | None,
        typer.Option("--init-discriminator", metavar="FILE", help="... and discriminator.", show_default=False),
    ] = None,
    perceptual: Annotated[
        list[Path] | None,
        typer.Option(
            "--perceptual",
            metavar="FILE",
            help="Backbone of the perceptual loss: ADE20K encoder, SqueezeNet 1.1 or SlimDeepLab; repeatable, they add up.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    settings: Settings = None,
) -> int:
    """Train a LaMa generator; DIR/generator.safetensors is the result, a model for --inpainter."""
    _prepare(threads, out, resume=resume, overwrite=overwrite)
    from objremove.training.config import InpainterConfig, load_config
    from objremove.training.inpainter import InpainterRecipe
    from objremove.training.loop import make_fabric
    from objremove.training.perceptual import load_backbone

    run = load_config(InpainterConfig, config, settings or ())
    fabric = make_fabric(device, run.loop.precision)
    backbones = [load_backbone(path) for path in perceptual or ()]
    photos, judges = _libraries(data, val or (), run.data)
    fabric.seed_everything(run.loop.seed, verbose=False)
    recipe = InpainterRecipe(
        fabric, run, photos, judges, backbones=backbones, generator=init, discriminator=init_discriminator
    )
    given = {"perceptual": _digests(perceptual)}
    begun = {"init": _digests([init]), "init_discriminator": _digests([init_discriminator])}
    return _run(fabric, recipe, run, photos, given, begun, out=out, minutes=minutes, resume=resume, overwrite=overwrite)


@app.command()
def segmenter(
    data: Data,
    out: Out,
    config: Annotated[str, typer.Option("--config", metavar="NAME|FILE", help="Settings.")] = "slim-deeplab",
    val: Validation = None,
    minutes: Minutes = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
    init: Annotated[
        Path | None, typer.Option("--init", metavar="FILE", help="Start from these weights.", show_default=False)
    ] = None,
    teachers: Annotated[
        list[Path] | None,
        typer.Option(
            "--teacher",
            metavar="FILE",
            help="A network to learn from beside the labels: a backbone (SqueezeNet 1.1, the ADE20K encoder) or a segmenter; "
            "repeatable, what they answer is averaged.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    settings: Settings = None,
) -> int:
    """Train the class segmenter; DIR/segmenter.safetensors is the result, a model for --segmenter."""
    _prepare(threads, out, resume=resume, overwrite=overwrite)
    from objremove.training.config import SegmenterConfig, load_config
    from objremove.training.loop import make_fabric
    from objremove.training.segmenter import SegmenterRecipe
    from objremove.training.teachers import Ensemble, load_teacher

    run = load_config(SegmenterConfig, config, settings or ())
    fabric = make_fabric(device, run.loop.precision)
    photos, judges = _libraries(data, val or (), run.data)
    if judges is not None and not any(record.label == "human" for record in judges.records) and fabric.is_global_zero:
        Speaker().say("none of the photos to judge by has labels by hand: there will be no scores")
    fabric.seed_everything(run.loop.seed, verbose=False)
    teacher = Ensemble([load_teacher(path) for path in teachers]) if teachers else None
    recipe = SegmenterRecipe(fabric, run, photos, judges, weights=init, teacher=teacher)
    given, begun = {"teachers": _digests(teachers)}, {"init": _digests([init])}
    return _run(fabric, recipe, run, photos, given, begun, out=out, minutes=minutes, resume=resume, overwrite=overwrite)


@app.command()
def average(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Weights of one network, two files or more (safetensors).")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the mean goes.")],
    shares: Annotated[
        list[float] | None,
        typer.Option(
            "--share", min=0.0, help="Weight of each file, in their order; default: alike.", show_default=False
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE where it is there already.")] = False,
) -> int:
    """Average the weights of runs that began from one another: often better than each of them."""
    check_replaceable(out, overwrite=overwrite)
    from objremove.training.average import average_files

    average_files(files, out, shares or [1.0] * len(files))
    Speaker().say(f"mean of {len(files)} files: {out}")
    return OK


def _prepare(threads: int | None, out: Path, *, resume: Path | None, overwrite: bool) -> None:
    if not importlib.util.find_spec("lightning"):
        raise UsageError("training needs Lightning: pip install 'objremove[train]'")
    from objremove.training.folder import check_folder
    from objremove.training.share import is_first_process

    if is_first_process():  # said now, and not after all photos are decoded
        check_folder(out, resume=resume, overwrite=overwrite)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _libraries(
    data: Sequence[Path], val: Sequence[Path], config: DataConfig
) -> tuple[PhotoLibrary, PhotoLibrary | None]:
    """Photos to train on, and to judge by: the former without the latter."""
    from objremove.training.files import find_data, read_records
    from objremove.training.library import PhotoLibrary
    from objremove.training.share import is_first_process, local_processes, processors

    found = [find_data(path) for path in data]
    training = read_records([path for paths, _ in found for path in paths])
    judging = [path for paths, held in map(find_data, val) for path in held or paths]
    judging = judging or [path for _, held in found for path in held]
    room = config.memory_gb / local_processes()
    library = partial(PhotoLibrary, short_side=config.short_side, threads=processors())
    judges = None
    if judging:
        judged = read_records(judging)
        training = _without(training, {record.file.resolve() for record in judged})
        judges = library(judged, memory_gb=room if is_first_process() else 0)  # no other one judges
        room -= judges.kept_bytes / 1e9
    elif is_first_process():
        Speaker().say("no photos to judge by: there will be no scores and no previews; --val names some")
    return library(training, memory_gb=room, forgiving=True), judges


def _without(records: Sequence[Record], judged: set[Path]) -> list[Record]:
    """The records of other files than those that are judged by."""
    from objremove.training.share import is_first_process

    left = [record for record in records if record.file.resolve() not in judged]
    if not left:
        raise UsageError("every photo of --data is one to judge by: give others to train on")
    if len(left) < len(records) and is_first_process():
        Speaker().say(f"{counted(len(records) - len(left), 'photo')} to judge by left out of the training")
    return left


def _digests(files: Sequence[Path | None] | None) -> list[str]:
    """SHA-256 of each file that is given."""
    from objremove import models

    return [models.sha256(file) for file in files or () if file is not None]


def _run(
    fabric: Fabric,
    recipe: Recipe,
    config: InpainterConfig | SegmenterConfig,
    photos: PhotoLibrary,
    given: Mapping[str, Sequence[str]],
    begun: Mapping[str, Sequence[str]],
    *,
    out: Path,
    minutes: float | None,
    resume: Path | None,
    overwrite: bool,
) -> int:
    """Train; `given` and `begun` are the SHA-256 of what is learnt from, and of what is begun from."""
    from objremove.training.loop import train

    reporter = TerminalReporter(config.loop.steps, minutes, enabled=fabric.is_global_zero)
    reporter.say(f"{counted(len(photos), 'photo')}, {fabric.world_size} x {fabric.device}, {config.loop.precision}")
    with reporter:
        outcome: Outcome = train(
            fabric,
            recipe,
            config,
            out=out,
            reporter=reporter,
            metadata={"recipe": asdict(config), "data": photos.summary()},
            given={**given, "photos": [photos.digest()]},
            begun=begun,
            minutes=minutes,
            resume=resume,
            overwrite=overwrite,
        )
    weights = out / recipe.file_name
    reporter.say(
        f"{counted(outcome.step, 'step')}, {outcome.seconds / 60:.1f} minutes, {outcome.samples_per_second:.1f} samples/s"
        f"{', interrupted' if outcome.interrupted else ''}: {weights if weights.exists() else 'nothing to keep'}"
    )
    return INTERRUPTED if outcome.interrupted else OK


class TerminalReporter:
    """A bar with the time that is left on a terminal, a line now and then elsewhere; both on stderr."""

    def __init__(self, steps: int, minutes: float | None, *, enabled: bool = True) -> None:
        self._steps, self._minutes, self._enabled = steps, minutes, enabled
        self._speaker = Speaker()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._next_line = 0.0

    def __enter__(self) -> TerminalReporter:
        if self._enabled and sys.stderr.isatty():
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            columns = (
                BarColumn(),
                TimeElapsedColumn(),
                TextColumn("/"),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
            )
            self._bar = Progress(*columns, console=self._speaker.console)
            self._task = self._bar.add_task("", total=1.0)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, step: int, progress: float, seconds: float, rate: float, scalars: Mapping[str, float]) -> None:
        """See `objremove.training.loop.Reporter`."""
        losses = ", ".join(f"{name} {value:.3g}" for name, value in scalars.items())
        text = f"step {step}, {rate:.1f} samples/s, {losses}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=progress, description=text)
        elif self._enabled and time.monotonic() > self._next_line:
            self._next_line = time.monotonic() + _LINE_SECONDS
            left = seconds * (1 / progress - 1) / 60 if progress > 0 else 0.0
            self._speaker.say(f"{progress:4.0%} {text}, {left:.0f} min left")

    def say(self, text: str) -> None:
        """A line of text."""
        if self._enabled:
            self.warn(text)

    def warn(self, text: str) -> None:
        """A line of text, whichever process it is of."""
        if self._bar is not None:
            self._bar.console.print(text)
        else:
            self._speaker.say(text)
