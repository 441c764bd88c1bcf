"""The training loop: Lightning Fabric brings device, precision, processes and checkpoints; this brings order, budget and records."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy

from objremove.errors import ModelError, UsageError
from objremove.training.checkpoint import load_checkpoint, save_checkpoint
from objremove.training.clock import Clock, learning_rate
from objremove.training.config import InpainterConfig, LoopConfig, SegmenterConfig
from objremove.training.recipe import Recipe
from objremove.training.records import Records
from objremove.training.stream import BatchStream, worker_count


class Reporter(Protocol):
    """Tells people how a run goes."""

    def step(self, step: int, progress: float, seconds: float, rate: float, scalars: Mapping[str, float]) -> None:
        """Called after every step; `rate` is in samples a second over all processes, `scalars` are the last losses read."""
        ...

    def say(self, text: str) -> None:
        """A line of text."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        step: optimiser steps done, over all sittings.
        seconds: time trained, over all sittings.
        samples_per_second: over this sitting, all processes, evaluation left out.
        scores: of the averaged weights at the end.
        interrupted: whether a signal ended it.
    """

    step: int
    seconds: float
    samples_per_second: float
    scores: dict[str, float]
    interrupted: bool


def make_fabric(device: str, precision: str) -> Fabric:
    """Fabric on one device, or on those of all processes when `torchrun` started several.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: a precision of Fabric.

    Raises:
        UsageError: an unknown device or precision, or one that is not here.
    """
    name, _, number = device.partition(":")
    processes, here = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    devices: int | list[int] = [int(number)] if number.isdecimal() else here if processes > 1 else 1
    try:
        fabric = Fabric(
            accelerator=name,
            devices=devices,
            num_nodes=max(1, processes // here),
            # A discriminator runs twice before its backward: nothing may change its buffers in between.
            strategy=DDPStrategy(broadcast_buffers=False) if processes > 1 else "auto",
            precision=precision,  # type: ignore[arg-type]
        )
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"cannot train on {device!r} with {precision!r}: {' '.join(str(error).split())[:200]}"
        ) from None
    fabric.launch()
    return fabric


def train(
    fabric: Fabric,
    recipe: Recipe,
    config: InpainterConfig | SegmenterConfig,
    *,
    out: Path,
    reporter: Reporter,
    metadata: Mapping[str, object],
    minutes: float | None = None,
    resume: Path | None = None,
) -> Outcome:
    """Train until the steps or minutes are spent, or SIGINT / SIGTERM asks for an end; always ends with a usable checkpoint.

    Args:
        fabric: launched, and the one that `recipe` was built with.
        recipe: the task.
        config: the run; its `loop` says how to train.
        out: folder for last.ckpt, the exported weights, previews/, scalars.jsonl and TensorBoard's events; made if need be.
        reporter: hears of every step.
        metadata: goes into the exported weights, with what was measured.
        minutes: time budget over all sittings of the run.
        resume: a checkpoint, or the folder with it.

    Raises:
        ModelError: a loss is not finite, or the checkpoint does not fit.
    """
    out.mkdir(parents=True, exist_ok=True)
    loop, settings = config.loop, _settings(config)
    first, before = load_checkpoint(fabric, resume, recipe, settings=settings) if resume else (0, 0.0)
    clock = Clock(fabric, steps=loop.steps, minutes=minutes, seconds_before=before)
    records = Records(out, enabled=fabric.is_global_zero, purge_step=first if resume else None)
    on_gpu = fabric.device.type == "cuda"
    stream = BatchStream(
        recipe.sample,
        lambda step: loop.size(clock.progress(step)),
        batch=loop.batch,
        seed=loop.seed,
        rank=fabric.global_rank,
        first_step=first,
        workers=worker_count(loop.workers, on_gpu),
        pin=on_gpu,
    )
    run = _Run(fabric, recipe, loop, out, reporter, dict(metadata), clock, records, settings)
    try:
        with _orderly_signals(clock.stop):
            step = run.steps(stream, first)
        scores = run.keep(step)
    finally:
        stream.close()
        records.close()
    return Outcome(step, clock.seconds, run.rate, scores, clock.interrupted)


class _Run:
    """One sitting of a run."""

    def __init__(
        self,
        fabric: Fabric,
        recipe: Recipe,
        loop: LoopConfig,
        out: Path,
        reporter: Reporter,
        metadata: dict[str, object],
        clock: Clock,
        records: Records,
        settings: str,
    ) -> None:
        self._fabric, self._recipe, self._loop, self._out, self._reporter = fabric, recipe, loop, out, reporter
        self._metadata, self._clock, self._records, self._settings = metadata, clock, records, settings
        self._samples, self._seconds, self._scalars = 0, 0.0, dict[str, float]()

    @property
    def rate(self) -> float:
        """Samples a second of this sitting."""
        return self._samples / max(self._seconds, 1e-9)

    def steps(self, stream: BatchStream, step: int) -> int:
        """Train from `step` on; returns the step at which the run ended."""
        loop, clock = self._loop, self._clock
        due = clock.seconds + 60 * loop.checkpoint_minutes
        resumed_at = clock.seconds
        spent_before = self._seconds
        for photos, targets in stream:
            if clock.is_over(step):
                break
            progress = clock.progress(step)
            factor = learning_rate(loop.curve, progress, step, loop.warmup)
            device = self._fabric.device
            scalars = self._recipe.step(
                photos.to(device, non_blocking=True), targets.to(device, non_blocking=True), step, factor
            )
            step += 1
            self._samples += loop.batch * self._fabric.world_size
            if step % loop.log_every == 0:
                self._read(scalars, step, factor)
            self._seconds = spent_before + clock.seconds - resumed_at
            if self._fabric.is_global_zero:
                self._reporter.step(step, progress, clock.seconds, self.rate, self._scalars)
            if self._agreed(clock.seconds > due, step):
                self._read(scalars, step, factor)
                self.keep(step)
                due, resumed_at, spent_before = (
                    clock.seconds + 60 * loop.checkpoint_minutes,
                    clock.seconds,
                    self._seconds,
                )
        return step

    def keep(self, step: int) -> dict[str, float]:
        """Checkpoint, evaluate, preview and export; returns the scores."""
        save_checkpoint(
            self._fabric, self._out, self._recipe, step=step, seconds=self._clock.seconds, settings=self._settings
        )
        scores: dict[str, float] = {}
        if self._fabric.is_global_zero:
            scores = self._recipe.evaluate()
            self._records.scalars({f"val/{name}": value for name, value in scores.items()}, step)
            self._recipe.export(self._out, self._describe(step, scores))
            self._records.picture(self._recipe.preview(), step)
            if scores:
                self._reporter.say(
                    f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
                )
        self._fabric.barrier()
        return scores

    def _agreed(self, mine: bool, step: int) -> bool:
        """The first process's opinion, asked now and then."""
        if self._fabric.world_size == 1:
            return mine
        return bool(self._fabric.broadcast(mine)) if step % 10 == 0 else False

    def _read(self, scalars: Mapping[str, torch.Tensor], step: int, factor: float) -> None:
        names = list(scalars)
        values = torch.stack([scalars[name].detach().float().mean() for name in names]).tolist()
        self._scalars = dict(zip(names, values, strict=True))
        broken = [name for name, value in self._scalars.items() if not math.isfinite(value)]
        if broken:
            raise ModelError(
                f"{broken[0]} is not finite at step {step}: go on from the last checkpoint in {self._out} with a lower learning rate"
            )
        extra = {"learning_rate_factor": factor, "samples_per_second": self.rate}
        self._records.scalars({f"train/{name}": value for name, value in (self._scalars | extra).items()}, step)

    def _describe(self, step: int, scores: Mapping[str, float]) -> dict[str, str]:
        """Metadata of the exported weights: safetensors keeps strings only."""
        loop = self._loop
        measured: dict[str, Any] = {
            "steps": step,
            "samples": step * loop.batch * self._fabric.world_size,
            "minutes": round(self._clock.seconds / 60, 1),
            "samples_per_second": round(self.rate, 1),
            "device": str(self._fabric.device),
            "torch": torch.__version__,
        }
        texts = {
            key: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            for key, value in self._metadata.items()
        }
        return texts | {"trained": json.dumps(measured), "scores": json.dumps(dict(scores))}


def _settings(config: InpainterConfig | SegmenterConfig) -> str:
    """Everything that a resumed run must share with its first sitting; its length and its records are free to change."""
    loop = replace(config.loop, steps=1, workers=0, checkpoint_minutes=0.0, log_every=1)
    return json.dumps(asdict(replace(config, loop=loop)), sort_keys=True)


@contextmanager
def _orderly_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Within this, the first SIGINT or SIGTERM calls `stop`, the next one acts as ever."""
    try:
        previous = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}

        def handle(kind: int, frame: FrameType | None) -> None:
            stop()
            signal.signal(kind, previous[signal.Signals(kind)])

        for kind in previous:
            signal.signal(kind, handle)
    except ValueError:  # not in the main thread: whoever embeds the loop there handles signals
        yield
        return
    try:
        yield
    finally:
        for kind, action in previous.items():
            signal.signal(kind, action)
