"""`objremove train inpainter|segmenter`: train the networks that ship, or larger ones (extra `train`)."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from objremove.cli.console import INTERRUPTED, OK, Speaker
from objremove.errors import UsageError
from objremove.wording import counted

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from rich.progress import Progress, TaskID

    from objremove.training.config import DataConfig, InpainterConfig, SegmenterConfig
    from objremove.training.library import PhotoLibrary
    from objremove.training.loop import Outcome
    from objremove.training.recipe import Recipe

app = typer.Typer(help="Train the inpainter or the class segmenter.", no_args_is_help=True)

_LINE_SECONDS = 30.0

Data = Annotated[
    list[Path],
    typer.Option(
        "--data", metavar="PATH", help="Tar files, or a folder of photos or of train-*.tar and val-*.tar; repeatable."
    ),
]
Validation = Annotated[
    list[Path] | None,
    typer.Option("--val", metavar="PATH", help="Photos to judge by, never trained on.", show_default=False),
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
    _prepare(threads)
    from objremove.training.config import InpainterConfig, load_config
    from objremove.training.inpainter import InpainterRecipe
    from objremove.training.loop import make_fabric
    from objremove.training.perceptual import load_backbone

    run = load_config(InpainterConfig, config, settings or ())
    fabric = make_fabric(device, run.loop.precision)
    backbones = [load_backbone(path) for path in perceptual or ()]
    photos, judges = _libraries(data, val, run.data)
    fabric.seed_everything(run.loop.seed, verbose=False)
    recipe = InpainterRecipe(
        fabric, run, photos, judges, backbones=backbones, generator=init, discriminator=init_discriminator
    )
    return _run(fabric, recipe, run, photos, out=out, minutes=minutes, resume=resume)


@app.command()
def segmenter(
    data: Data,
    out: Out,
    config: Annotated[str, typer.Option("--config", metavar="NAME|FILE", help="Settings.")] = "slim-deeplab",
    val: Validation = None,
    minutes: Minutes = None,
    resume: Resume = None,
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
    _prepare(threads)
    from objremove.training.config import SegmenterConfig, load_config
    from objremove.training.loop import make_fabric
    from objremove.training.segmenter import SegmenterRecipe
    from objremove.training.teachers import Ensemble, load_teacher

    run = load_config(SegmenterConfig, config, settings or ())
    fabric = make_fabric(device, run.loop.precision)
    photos, judges = _libraries(data, val, run.data)
    fabric.seed_everything(run.loop.seed, verbose=False)
    teacher = Ensemble([load_teacher(path) for path in teachers]) if teachers else None
    recipe = SegmenterRecipe(fabric, run, photos, judges, weights=init, teacher=teacher)
    return _run(fabric, recipe, run, photos, out=out, minutes=minutes, resume=resume)


def _prepare(threads: int | None) -> None:
    if not importlib.util.find_spec("lightning"):
        raise UsageError("training needs Lightning: pip install 'objremove[train]'")
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _libraries(
    data: list[Path], val: list[Path] | None, config: DataConfig
) -> tuple[PhotoLibrary, PhotoLibrary | None]:
    import os

    from objremove.training.library import PhotoLibrary, find_data, read_records

    found = [find_data(path) for path in data]
    training = [path for paths, _ in found for path in paths]
    judging = val or [path for _, paths in found for path in paths]
    threads = os.cpu_count() or 1

    def library(paths: list[Path]) -> PhotoLibrary:
        records = read_records(paths)
        return PhotoLibrary(records, memory_gb=config.memory_gb, short_side=config.short_side, threads=threads)

    return library(training), library(judging) if judging else None


def _run(
    fabric: Fabric,
    recipe: Recipe,
    config: InpainterConfig | SegmenterConfig,
    photos: PhotoLibrary,
    *,
    out: Path,
    minutes: float | None,
    resume: Path | None,
) -> int:
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
            minutes=minutes,
            resume=resume,
        )
    reporter.say(
        f"{counted(outcome.step, 'step')}, {outcome.seconds / 60:.1f} minutes, {outcome.samples_per_second:.1f} samples/s"
        f"{', interrupted' if outcome.interrupted else ''}: {out / recipe.file_name}"
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
        if self._bar is not None:
            self._bar.console.print(text)
        elif self._enabled:
            self._speaker.say(text)
