"""What is left to do of the inputs of a cluster run, in units of work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from objremove.cluster import sources
from objremove.cluster.ledger import Known
from objremove.cluster.listing import find_files
from objremove.cluster.sources import File, Unit
from objremove.cluster.storage import Folder
from objremove.cluster.worker import Task
from objremove.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """How a run works.

    Attributes:
        batch: photos that are written down together: the most that a dead worker's successor does again.
        limit: so many photos at most; None: all.
        retry_failed: photos that failed before are tried again.
        again: everything is done anew.
        overwrite: the output may hold files that no run made, and results of other photos may be replaced.
    """

    batch: int = 32
    limit: int | None = None
    retry_failed: bool = False
    again: bool = False
    overwrite: bool = False


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

    @property
    def photos(self) -> int:
        """How many single photos are to be done."""
        return sum(len(unit.files) for unit in self.units) - self.shards


@dataclass(frozen=True)
class Inputs:
    """What a run is to work on.

    Attributes:
        files: photos and shards.
        others: (name, reason) of files that are neither.
    """

    files: Sequence[File]
    others: Sequence[tuple[str, str]]


def find_inputs(inputs: Sequence[str], task: Task) -> Inputs:
    """What folders, files and patterns hold; nothing is written.

    Raises:
        PhotoError, UsageError: see `listing.find_files`, `sources.check_columns`.
    """
    files, others = find_files(inputs, Folder(task.output), task.layout)
    sources.check_columns(files, task.image_column)
    return Inputs(files, others)


def make_plan(inputs: Inputs, known: Known, settings: Settings) -> Plan:
    """What is left to do of the inputs.

    Raises:
        UsageError: a result would be replaced that was made of another photo of the same name.
    """
    files = inputs.files
    photos = [file for file in files if file.kind == "photos"]
    shards = [Unit.of_shard(file) for file in files if file.kind != "photos"]
    todo = [file for file in photos if not known.is_settled(file, retry_failed=settings.retry_failed)]
    if not settings.overwrite:
        before = [(file, known.made_of.get(file.name, file.url)) for file in todo]
        before += [(unit.files[0], place) for unit in shards for place in known.places(known.outdated(unit))]
        for file, place in before:
            if place != file.url:
                raise UsageError(
                    f"{file.name} in the output was made of {place}, not of {file.url}: name another --output, or add --overwrite"
                )
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
        tuple(inputs.others),
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


def look(inputs: Sequence[str], task: Task, settings: Settings) -> Plan:
    """What a run would work on if nothing were done yet; nothing is written."""
    return make_plan(find_inputs(inputs, task), Known({}), settings)
