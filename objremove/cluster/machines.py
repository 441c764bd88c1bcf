"""The Ray cluster: how one gets to it, how many workers it has room for, and what they say while they work."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from objremove.cluster.sources import Unit
from objremove.cluster.worker import Task, Worker, encoded
from objremove.errors import ObjRemoveError, UsageError

CORES = 4
"""Processor cores of a worker on machines that have as many."""

_STORE = 256 * 2**20
"""Shared memory of a cluster that is started here: the driver's lists and the workers' news, no pictures."""

_BLOCKS = 2000
"""Ray is given so many pieces of work at most; what a piece has done is not lost with it."""

_RAY_PORTS = {"ray": 10001, "": 6379}


@dataclass(frozen=True)
class Workers:
    """How many workers, and what each has for itself.

    Attributes:
        count: None: as many as the cluster has room for.
        cores: processor cores of each; None: 4, or all of a machine that has fewer.
        gpus: of each; a fraction shares one. None: one, where the cluster has any, and the device may be one.
    """

    count: int | None = None
    cores: int | None = None
    gpus: float | None = None


@contextmanager
def connected(address: str, wanted: Workers) -> Iterator[tuple[int, int, float]]:
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
        yield _room(wanted, ray.nodes())  # type: ignore[no-untyped-call]
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


def _room(wanted: Workers, nodes: Sequence[Mapping[str, Any]]) -> tuple[int, int, float]:
    """Workers, and cores and GPUs of each."""
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = wanted.gpus if wanted.gpus is not None else float(any(one.get("GPU") for one in machines))
    machines = [one for one in machines if one.get("GPU", 0) >= gpus and one.get("CPU", 0) >= 1]
    most = int(max((one["CPU"] for one in machines), default=0))
    cores = wanted.cores or min(CORES, most)
    room = [min(one["CPU"] // cores, one.get("GPU", 0) // gpus if gpus else 10**9) for one in machines] if cores else []
    workers = int(sum(room))
    if not workers or (wanted.count or 0) > workers:
        asked = f"{wanted.count or 1} workers of {cores or CORES} cores" + (f" and {gpus:g} GPUs" if gpus else "")
        raise ObjRemoveError(
            f"the cluster has room for {workers} workers, not for {asked}: ask for fewer or smaller ones"
        )
    return wanted.count or workers, cores, gpus


def news_of(units: Sequence[Unit], task: Task, *, workers: int, cores: int, gpus: float) -> Iterator[dict[str, Any]]:
    """Give units to so many workers, and pass on what they say, see `worker.Worker`.

    Raises:
        ObjRemoveError: the cluster could not go on.
    """
    import ray
    from ray.util.client import ray as client

    hear = _news_by_foreman if client.is_connected() else _news  # type: ignore[no-untyped-call]
    try:
        yield from hear([encoded(unit) for unit in units], task, workers, cores, gpus)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        raise ObjRemoveError(f"the cluster could not go on ({type(cause).__name__}: {_first_line(cause)})") from error


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


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
