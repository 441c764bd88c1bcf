"""The driver of a cluster run: it lists, hands out units of work, listens, and puts the report together. It never sees a pixel."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from objremove.cluster import sources
from objremove.cluster.ledger import Known, Ledger, begin
from objremove.cluster.listing import find_files
from objremove.cluster.report import merge
from objremove.cluster.sources import Unit
from objremove.cluster.storage import Folder
from objremove.cluster.worker import Task, Worker, encoded
from objremove.errors import ObjRemoveError, UsageError
from objremove.runs.output import held
from objremove.runs.tally import Tally

CORES = 4
"""Processor cores of a worker on machines that have as many."""

_STORE = 256 * 2**20
"""Shared memory of a cluster that is started here: the driver's lists and the workers' news, no pictures."""

_BLOCKS = 2000
"""Ray is given so many pieces of work at most; what a piece has done is not lost with it."""

_RAY_PORTS = {"ray": 10001, "": 6379}


@dataclass(frozen=True)
class Settings:
    """How a run works.

    Attributes:
        batch: photos that are written down together: the most that a dead worker's successor does again.
        limit: so many photos at most; None: all.
        retry_failed: photos that failed before are tried again.
        again: everything is done anew.
        overwrite: the output may hold files that no run made.
    """

    batch: int = 32
    limit: int | None = None
    retry_failed: bool = False
    again: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Crew:
    """How many workers, and what each has for itself.

    Attributes:
        workers: None: as many as the cluster has room for.
        cores: processor cores of each; None: 4, or all of a machine that has fewer.
        gpus: of each; a fraction shares one. None: one, where the cluster has any, and the device may be one.
    """

    workers: int | None = None
    cores: int | None = None
    gpus: float | None = None


class Listener(Protocol):
    """Is told how a run goes."""

    def begins(self, plan: Plan) -> None:
        """The plan is made; nothing is done yet."""

    def goes_on(self, photos: int) -> None:
        """So many photos are settled by this run by now."""

    def failed(self, name: str, reason: str) -> None:
        """A photo failed."""


@dataclass(frozen=True)
class Plan:
    """What a run works on.

    Attributes:
        units: what is to be done.
        shards: how many of those are files of many photos.
        settled: photos that are done already.
        left: single photos that the limit leaves for the next run.
        skipped: (name, reason) of files that are not worked on.
        outdated: units of shards that have changed since.
    """

    units: tuple[Unit, ...]
    shards: int
    settled: int
    left: int
    skipped: tuple[tuple[str, str], ...]
    outdated: tuple[str, ...]


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


def make_plan(inputs: Sequence[str], task: Task, known: Known, settings: Settings) -> Plan:
    """What is left to do of the inputs.

    Raises:
        PhotoError, UsageError: see `listing.find_files`.
    """
    files, others = find_files(inputs, Folder(task.output), task.layout)
    sources.check_columns(files, task.image_column)
    photos = [file for file in files if file.kind == "photos"]
    shards = [Unit.of_shard(file) for file in files if file.kind != "photos"]
    todo = [file for file in photos if not known.is_settled(file, retry_failed=settings.retry_failed)]
    chosen = todo[: settings.limit]
    unfinished = [unit for unit in shards if not known.covered(unit).complete]
    if settings.limit is not None:
        unfinished = list(_limited(unfinished, known, settings.limit - len(chosen)))
    done = len(photos) - len(todo) + sum(known.covered(unit).count for unit in shards)
    return Plan(
        (*sources.photo_units(chosen, known.generation, settings.batch), *unfinished),
        len(unfinished),
        done,
        len(todo) - len(chosen),
        tuple(others),
        tuple(name for unit in shards for name in known.outdated(unit)),
    )


def _limited(units: Sequence[Unit], known: Known, limit: int) -> Iterator[Unit]:
    """Units with so many unsettled photos altogether; counts what is in them, as far as need be."""
    for unit in units:
        if limit < 1:
            return
        covered = known.covered(unit)
        stop = covered.stop_after(limit)
        yield replace(unit, stop=stop)
        limit -= sources.count(unit, stop) - sum(number < stop for number in covered.numbers)


def run(
    inputs: Sequence[str],
    task: Task,
    options: Mapping[str, Any],
    settings: Settings,
    crew: Crew,
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
        crew: the workers.
        address: `local` starts a cluster on this machine, `auto` takes the one that runs here, else host:port or ray://host:port.
        listener: told how it goes.

    Raises:
        UsageError, PhotoError: of the inputs or the output, before any work.
        ObjRemoveError: no cluster is there; a worker could not begin; the disk is full. What is done is done, and the next run
            writes the report of it.
    """
    output = Folder(task.output)
    with alone(output):
        ledger = Ledger(output, begin(output, options, again=settings.again, overwrite=settings.overwrite))
        output.sweep()
        known = Known.read(ledger, retry_failed=settings.retry_failed)
        plan = make_plan(inputs, task, known, settings)
        listener.begins(plan)
        started, interrupted = time.perf_counter(), False
        try:
            if plan.units:
                with connected(address, crew) as (workers, cores, gpus):
                    mine = replace(task, output=output.url, run=ledger.run, batch=settings.batch, threads=cores)
                    _work(plan, mine, known, min(workers, len(plan.units)), cores, gpus, listener)
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


def look(inputs: Sequence[str], task: Task, settings: Settings) -> Plan:
    """What a run would work on if nothing were done yet; nothing is written."""
    return make_plan(inputs, task, Known({}), settings)


def _left(plan: Plan, after: Known) -> int:
    """Single photos of the plan that are still to be done."""
    return sum(len(unit.files) - after.covered(unit).count for unit in plan.units if unit.kind == "photos")


def _unfinished(plan: Plan, after: Known) -> int:
    """Shards of the plan of which some is still to be done."""
    return sum(not after.covered(unit).complete for unit in plan.units if unit.kind != "photos")


def alone(output: Folder) -> AbstractContextManager[None]:
    """Hold a local output for this driver; object stores have no locks, and two drivers there are the user's care."""
    return held(Path(output.path)) if output.is_local else nullcontext()


@contextmanager
def connected(address: str, crew: Crew) -> Iterator[tuple[int, int, float]]:
    """A connection to Ray, and how many workers with how many cores and GPUs each there are to be; telemetry stays off.

    A program that is connected already stays so.

    Raises:
        ObjRemoveError: no cluster answers at that address, or it has no room for such workers.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what goes wrong is said here, in one line
    import ray

    ours = not ray.is_initialized()
    if ours:
        _check_answers(address)
        local: dict[str, Any] = (
            {"include_dashboard": False, "object_store_memory": _STORE} if address == "local" else {}
        )
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            hint = " (does it want a token? then RAY_AUTH_MODE=token)" if address != "local" else ""
            raise ObjRemoveError(f"no Ray cluster answers at {address}: {_first_line(error)}{hint}") from error
    try:
        yield _shape(crew, ray.nodes())  # type: ignore[no-untyped-call]
    finally:
        if ours:
            ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise ObjRemoveError where nothing listens: Ray itself would try for minutes."""
    if address in ("local", "auto"):
        return
    protocol, _, rest = address.rpartition("://")
    host, _, port = rest.partition(":")
    if protocol not in _RAY_PORTS or not host or not (port or "0").isdigit():
        raise UsageError(f"--address {address}: take auto, local, host:port or ray://host:port")
    try:
        socket.create_connection((host, int(port or _RAY_PORTS[protocol])), timeout=10).close()
    except OSError as error:
        raise ObjRemoveError(f"no Ray cluster answers at {address}: {error.strerror or error}") from None


def _shape(crew: Crew, nodes: Sequence[Mapping[str, Any]]) -> tuple[int, int, float]:
    """Workers, and cores and GPUs of each."""
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = crew.gpus if crew.gpus is not None else float(any(one.get("GPU") for one in machines))
    machines = [one for one in machines if one.get("GPU", 0) >= gpus and one.get("CPU", 0) >= 1]
    most = int(max((one["CPU"] for one in machines), default=0))
    cores = crew.cores or min(CORES, most)
    room = [min(one["CPU"] // cores, one.get("GPU", 0) // gpus if gpus else 10**9) for one in machines] if cores else []
    workers = int(sum(room))
    if not workers or (crew.workers or 0) > workers:
        wanted = f"{crew.workers or 1} workers of {cores or CORES} cores" + (f" and {gpus:g} GPUs" if gpus else "")
        raise ObjRemoveError(
            f"the cluster has room for {workers} workers, not for {wanted}: ask for fewer or smaller ones"
        )
    return crew.workers or workers, cores, gpus


def _news(texts: Sequence[str], task: Task, workers: int, cores: int, gpus: float) -> Iterator[dict[str, Any]]:
    """What the workers say as they do the units that the texts stand for."""
    import pyarrow as pa
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what goes wrong is said by the driver, in one line
    size = -(-len(texts) // _BLOCKS)
    blocks = [pa.table({"unit": texts[start : start + size]}) for start in range(0, len(texts), size)]
    dataset = ray.data.from_arrow(blocks)
    dataset.context.enable_progress_bars = False
    dataset.context.target_max_block_size = 1  # each piece of news is sent at once
    news = dataset.map_batches(
        Worker,
        fn_constructor_args=(task,),
        batch_size=1,
        num_cpus=cores,
        num_gpus=gpus or None,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers, max_tasks_in_flight_per_actor=2),
    )
    yield from news.iter_rows()


class _Foreman:
    """Hears the workers' news on the cluster itself: Ray Data does not run in a process that is joined by ray://."""

    def __init__(self, *work: Any) -> None:
        self._news = _news(*work)

    def next(self) -> dict[str, Any] | None:
        """One more piece; None after the last."""
        return next(self._news, None)


def _news_by_foreman(*work: Any) -> Iterator[dict[str, Any]]:
    import ray

    foreman: Any = ray.remote(num_cpus=0)(_Foreman).remote(*work)
    while (one := ray.get(foreman.next.remote())) is not None:
        yield one


def _work(plan: Plan, task: Task, known: Known, workers: int, cores: int, gpus: float, listener: Listener) -> None:
    """Give the units to the workers, and tell how it goes."""
    import ray
    from ray.util.client import ray as client

    hear = _news_by_foreman if client.is_connected() else _news  # type: ignore[no-untyped-call]
    news = hear([encoded(unit) for unit in plan.units], task, workers, cores, gpus)
    counts = {unit.id: known.covered(unit).count for unit in plan.units}
    settled, said = dict(counts), set[str]()
    try:
        for one in news:
            if one["error"]:
                raise ObjRemoveError(one["error"])
            settled[one["unit"]] = max(settled[one["unit"]], one["settled"])
            for name, reason in json.loads(one["failed"]):
                if name not in said:  # a photo may be tried twice, by a worker that died and by its successor
                    said.add(name)
                    listener.failed(name, reason)
            listener.goes_on(sum(settled.values()) - sum(counts.values()))
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        raise ObjRemoveError(f"the cluster could not go on ({type(cause).__name__}: {_first_line(cause)})") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
