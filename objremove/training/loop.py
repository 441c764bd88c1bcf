"""The training loop: Lightning Fabric brings device, precision, processes and checkpoints; this brings order, budget and records."""

from __future__ import annotations

import json
import math
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from objremove.errors import ModelError, PhotoError, UsageError
from objremove.training.agreement import Agreement
from objremove.training.checkpoint import BEGUN, GIVEN, load_checkpoint, save_checkpoint
from objremove.training.clock import Clock, learning_rate
from objremove.training.config import InpainterConfig, LoopConfig, SegmenterConfig
from objremove.training.folder import check_folder, clear_folder
from objremove.training.recipe import Recipe, Scalars
from objremove.training.records import Records
from objremove.training.share import local_processes
from objremove.training.stream import BatchStream, worker_count
from objremove.training.tolerance import Tolerance

Batch = tuple[Tensor, Tensor]


class Reporter(Protocol):
    """Tells people how a run goes."""

    def step(self, step: int, progress: float, seconds: float, rate: float, scalars: Mapping[str, float]) -> None:
        """Called after every step; `rate` is in samples a second over all processes, `scalars` are the last losses read."""
        ...

    def say(self, text: str) -> None:
        """A line of text, of the first process."""
        ...

    def warn(self, text: str) -> None:
        """A line of text that each process has its own of."""
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
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", device):
        raise UsageError(f"unknown device {device!r}: take auto, cpu, cuda, cuda:N or mps")
    name, _, number = device.partition(":")
    processes, here = int(os.environ.get("WORLD_SIZE", "1")), local_processes()
    devices: int | list[int] = [int(number)] if number else here if processes > 1 else 1
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
    given: Mapping[str, Sequence[str]] | None = None,
    begun: Mapping[str, Sequence[str]] | None = None,
    minutes: float | None = None,
    resume: Path | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Train until the steps or minutes are spent, or SIGINT / SIGTERM asks for an end; what is done is always kept.

    Args:
        fabric: launched, and the one that `recipe` was built with.
        recipe: the task.
        config: the run; its `loop` says how to train.
        out: folder for last.ckpt, the exported weights, previews/, scalars.jsonl and TensorBoard's events; made if need be.
        reporter: hears of every step.
        metadata: goes into the exported weights, with what was measured.
        given: digests of what the recipe learns from, by kind: a resumed run must have the same.
        begun: digests of what the recipe started from, by kind: a resumed run has those of its first sitting, and may leave them out.
        minutes: time budget over all sittings of the run.
        resume: a checkpoint, or the folder with it.
        overwrite: remove the files of an earlier run in `out` first.

    Raises:
        UsageError: `out` holds an earlier run, and nothing says what is to become of it.
        ModelError: a loss or weight is not finite, or the checkpoint does not fit.
        PhotoError: too many photos cannot be read.
    """
    if fabric.is_global_zero:
        check_folder(out, resume=resume, overwrite=overwrite)
    loop, first, before = config.loop, 0, 0.0
    settings = _settings(config, {"processes": fabric.world_size, **(given or {})}, begun or {})
    if resume:
        first, before, settings = load_checkpoint(fabric, resume, recipe, settings=settings)
    out.mkdir(parents=True, exist_ok=True)
    if overwrite and fabric.is_global_zero:
        clear_folder(out)
    agreement = Agreement(fabric.world_size)
    clock = Clock(agreement, steps=loop.steps, minutes=minutes, seconds_before=before)
    records = Records(out, enabled=fabric.is_global_zero, resumed=first if resume else None)
    on_gpu = fabric.device.type == "cuda"
    stream = BatchStream(
        Tolerance(recipe.sample, reporter.warn),
        lambda step: loop.size(clock.progress(step)),
        batch=loop.batch,
        seed=loop.seed,
        rank=fabric.global_rank,
        first_step=first,
        workers=worker_count(loop.workers, on_gpu),
        pin=on_gpu,
    )
    digests = {**(given or {}), **json.loads(settings).get(BEGUN, {})}
    described = {**metadata, "sha256": digests}
    run = _Run(fabric, recipe, loop, out, reporter, described, agreement, clock, records, settings, first)
    try:
        with _orderly_signals(clock.stop):
            run.steps(stream)
        # Every process knows of the interruption: where one has nothing to keep, none has.
        scores = run.keep() if run.step > first or not clock.interrupted else {}
    finally:
        stream.close()
        records.close()
    if run.lost is not None:
        raise run.lost
    return Outcome(run.step, clock.seconds, run.rate, scores, clock.interrupted)


class _Run:
    """One sitting of a run.

    Attributes:
        step: steps done, over all sittings.
        lost: why this process had no more samples, if that ended the run.
    """

    def __init__(
        self,
        fabric: Fabric,
        recipe: Recipe,
        loop: LoopConfig,
        out: Path,
        reporter: Reporter,
        metadata: dict[str, object],
        agreement: Agreement,
        clock: Clock,
        records: Records,
        settings: str,
        first: int,
    ) -> None:
        self._fabric, self._recipe, self._loop, self._out, self._reporter = fabric, recipe, loop, out, reporter
        self._metadata, self._agreement, self._clock, self._records = metadata, agreement, clock, records
        self._settings = settings
        self.step = first
        self.lost: Exception | None = None
        self._samples, self._seconds, self._scalars = 0, 0.0, dict[str, float]()
        self._unread: Scalars = {}
        self._factor = 1.0
        self._kept: tuple[int, dict[str, float]] | None = None

    @property
    def rate(self) -> float:
        """Samples a second of this sitting."""
        return self._samples / max(self._seconds, 1e-9)

    def steps(self, stream: BatchStream) -> None:
        """Train until the run ends."""
        clock, batches = self._clock, iter(stream)
        due, mark = self._due(), clock.seconds
        while True:
            batch = self._next(batches)
            if clock.is_over(self.step) or batch is None:
                if clock.progress(self.step) >= 1:
                    self.lost = None  # one batch is always asked for too many
                return
            self._train(batch)
            if self.step % self._loop.log_every == 0:
                self._require_finite(self._read())
            self._seconds, mark = self._seconds + clock.seconds - mark, clock.seconds
            if self._fabric.is_global_zero:
                progress = clock.progress(self.step)
                self._reporter.step(self.step, progress, clock.seconds, self.rate, self._scalars)
            if clock.now > due:
                self.keep()
                due, mark = self._due(), clock.seconds

    def keep(self) -> dict[str, float]:
        """Checkpoint, export, evaluate and preview, once at a step; returns the scores.

        Raises:
            ModelError: something is not finite; the last checkpoint stays.
        """
        if self._kept and self._kept[0] == self.step:
            return self._kept[1]
        self._require_finite([*self._read(), *_not_finite(self._recipe.state())])
        save_checkpoint(
            self._fabric,
            self._out,
            self._recipe,
            step=self.step,
            seconds=self._clock.seconds,
            settings=self._settings,
        )
        scores = self._judge() if self._fabric.is_global_zero else {}
        self._fabric.barrier()
        self._kept = self.step, scores
        return scores

    def _judge(self) -> dict[str, float]:
        # First the weights as they are: whoever stops a run may not wait for what they are worth.
        self._recipe.export(self._out, self._describe({}))
        try:
            scores, preview = self._recipe.evaluate(), self._recipe.preview()
        except PhotoError as error:
            self._reporter.warn(f"step {self.step} is not judged: {error}")
            return {}
        self._records.scalars({f"val/{name}": value for name, value in scores.items()}, self.step)
        self._records.picture(preview, self.step)
        if scores:
            self._recipe.export(self._out, self._describe(scores))
            self._reporter.say(
                f"step {self.step}: " + ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
            )
        return scores

    def _due(self) -> float:
        """When the next checkpoint is, from now on, as all processes see it."""
        self._clock.read()
        return self._clock.now + 60 * self._loop.checkpoint_minutes

    def _next(self, batches: Iterator[Batch]) -> Batch | None:
        """The next batch; where there is none this process asks all to stop: what is done is kept before the error is raised."""
        try:
            return next(batches)
        except Exception as error:  # whatever data may hold
            self.lost = error
            self._clock.stop()
            return None

    def _train(self, batch: Batch) -> None:
        photos, targets = (part.to(self._fabric.device, non_blocking=True) for part in batch)
        progress = self._clock.progress(self.step)
        self._factor = learning_rate(self._loop.curve, progress, self.step, self._loop.warmup)
        self._unread = self._recipe.step(photos, targets, self.step, self._factor)
        self.step += 1
        self._samples += self._loop.batch * self._fabric.world_size

    def _read(self) -> list[str]:
        """Record the losses of the last step, once; returns the names of those that are not finite."""
        if not self._unread:
            return []
        names = list(self._unread)
        values = torch.stack([self._unread[name].detach().float().mean() for name in names]).tolist()
        self._scalars, self._unread = dict(zip(names, values, strict=True)), {}
        broken = [name for name, value in self._scalars.items() if not math.isfinite(value)]
        if not broken:
            extra = {"learning_rate_factor": self._factor, "samples_per_second": self.rate}
            self._records.scalars({f"train/{key}": value for key, value in (self._scalars | extra).items()}, self.step)
        return broken

    def _require_finite(self, broken: Sequence[str]) -> None:
        """End the run on all processes where something is not finite on one."""
        if not self._agreement.greatest(len(broken))[0]:
            return
        what = broken[0] if broken else "a number of another process"
        raise ModelError(
            f"{what} is not finite at step {self.step}: {self._out} keeps what it had before; begin anew from its weights "
            "with --init, with a lower learning rate"
        )

    def _describe(self, scores: Mapping[str, float]) -> dict[str, str]:
        """Metadata of the exported weights: safetensors keeps strings only."""
        loop = self._loop
        measured: dict[str, Any] = {
            "steps": self.step,
            "samples": self.step * loop.batch * self._fabric.world_size,
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


def _settings(
    config: InpainterConfig | SegmenterConfig, given: Mapping[str, object], begun: Mapping[str, object]
) -> str:
    """Everything that a resumed run must share with its first sitting; its length and its records are free to change."""
    loop = replace(config.loop, steps=1, workers=0, checkpoint_minutes=0.0, log_every=1)
    return json.dumps(asdict(replace(config, loop=loop)) | {GIVEN: given, BEGUN: begun}, sort_keys=True)


def _not_finite(state: Mapping[str, Any]) -> list[str]:
    """Names of the networks in a recipe's state that hold a number that is not finite."""
    networks = {name: part.state_dict().values() for name, part in state.items() if isinstance(part, nn.Module)}
    return [
        f"weights of {name}"
        for name, tensors in networks.items()
        if not bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())
    ]


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
