"""The driver of a cluster run: it lists, hands out units of work, listens, and puts the report together. It never sees a pixel."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from objremove.cluster.ledger import Known, Ledger, begin
from objremove.cluster.machines import Workers, connected, news_of
from objremove.cluster.plan import Plan, Settings, find_inputs, make_plan
from objremove.cluster.report import merge
from objremove.cluster.storage import Folder
from objremove.cluster.worker import Task
from objremove.errors import ObjRemoveError
from objremove.runs.output import held
from objremove.runs.tally import Tally


class Listener(Protocol):
    """Is told how a run goes."""

    def begins(self, plan: Plan) -> None:
        """The plan is made; nothing is done yet."""

    def goes_on(self, photos: int) -> None:
        """So many photos are settled by this run by now."""

    def failed(self, name: str, reason: str) -> None:
        """A photo failed."""


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        tally: what the report says; what is left are single photos, and the seconds are of work, the start of a cluster included.
        unfinished: shards of which some is still to be done.
        interrupted: Ctrl-C ended it.
    """

    tally: Tally
    unfinished: int
    interrupted: bool


def run(
    inputs: Sequence[str],
    task: Task,
    options: Mapping[str, Any],
    settings: Settings,
    wanted: Workers,
    *,
    address: str = "local",
    listener: Listener,
) -> Outcome:
    """Do what is left of the inputs on a Ray cluster, and write the report.

    Ctrl-C ends it: the report is written, and photos that were in work are done by the next run.

    Args:
        inputs: folders, files and patterns, as paths or URLs that every worker can read.
        task: what is done with each photo; its `run`, `batch` and `threads` are set here.
        options: all that decides what results look like, as plain data; they are held against those of earlier runs.
        settings: how.
        wanted: the workers.
        address: `local` starts a cluster on this machine, `auto` takes the one that runs here, else host:port or ray://host:port.
        listener: told how it goes.

    Raises:
        UsageError, PhotoError: of the inputs or the output, before any work.
        ObjRemoveError: no cluster is there; a worker could not begin; the disk is full. What is done is done, and the next run
            writes the report of it.
    """
    output = Folder(task.output)
    found = find_inputs(inputs, task)  # before anything is written to the output
    with alone(output):
        ledger = Ledger(output, begin(output, options, again=settings.again, overwrite=settings.overwrite))
        output.sweep()
        known = Known.read(ledger, retry_failed=settings.retry_failed)
        plan = make_plan(found, known, settings)
        listener.begins(plan)
        started, interrupted = time.perf_counter(), False
        try:
            if plan.units:
                with connected(address, wanted) as (workers, cores, gpus):
                    mine = replace(task, output=output.url, run=ledger.run, batch=settings.batch, threads=cores)
                    workers = min(workers, len(plan.units))
                    news = news_of(plan.units, mine, workers=workers, cores=cores, gpus=gpus)
                    _listen(news, plan, known, listener)
        except KeyboardInterrupt:
            interrupted = True
        seconds = time.perf_counter() - started
        after = Known(ledger.all())
        tally = merge(ledger, known, after, plan.skipped, plan.outdated)
        tally.left, tally.seconds = plan.left + _left(plan, after), seconds
        output.sweep()
        unfinished = _unfinished(plan, after)
        if not (tally.left or unfinished):
            ledger.forget_other_runs()
        return Outcome(tally, unfinished, interrupted)


def alone(output: Folder) -> AbstractContextManager[None]:
    """Hold a local output for this driver; object stores have no locks, and two drivers there are the user's care."""
    return held(Path(output.path)) if output.is_local else nullcontext()


def _listen(news: Iterable[Mapping[str, Any]], plan: Plan, known: Known, listener: Listener) -> None:
    """Tell how it goes; raises ObjRemoveError where a worker could not begin."""
    counts = {unit.id: known.covered(unit).count for unit in plan.units}
    settled, said = dict(counts), set[str]()
    for one in news:
        if one["error"]:
            raise ObjRemoveError(one["error"])
        settled[one["unit"]] = max(settled[one["unit"]], one["settled"])
        for name, reason in json.loads(one["failed"]):
            if name not in said:  # a photo may be tried twice, by a worker that died and by its successor
                said.add(name)
                listener.failed(name, reason)
        listener.goes_on(sum(settled.values()) - sum(counts.values()))


def _left(plan: Plan, after: Known) -> int:
    """Single photos of the plan that are still to be done."""
    return sum(len(unit.files) - after.covered(unit).count for unit in plan.units if unit.kind == "photos")


def _unfinished(plan: Plan, after: Known) -> int:
    """Shards of the plan of which some is still to be done."""
    return sum(not after.covered(unit).complete for unit in plan.units if unit.kind != "photos")
