"""Folder runs: the pipeline against a plain loop, and memory over many photos.

    python benchmarks/bench_folder.py photos/ --compare 300 --memory 1200 --plot docs/folders-memory.png

Part one takes the photos in chunks, each by a plain loop over `Remover` and by the pipeline, one right after the other, so that a busy
machine is as busy for both. `busy` is the share of the processors that the process used. Results of the two are compared bit for bit.

Part two is a folder run as the command line does it, with the memory after each photo.
"""

import argparse
import csv
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from objremove import pipeline
from objremove.errors import ObjRemoveError
from objremove.folder import run as folder_run
from objremove.folder.plan import Plan, make_plan
from objremove.pipeline import Job, cores
from objremove.remover import Remover
from objremove.request import Request
from objremove.result import Result
from objremove.runs.layout import Item, Layout
from objremove.runs.output import opened

CLASSES = "person,dog,cat,car,horse"


@dataclass
class Use:
    """Seconds that a way of working took, by the clock and on the processors."""

    wall: float = 0.0
    cpu: float = 0.0
    photos: int = 0
    _began: tuple[float, float] = (0, 0)

    def begin(self) -> None:
        """Start to count."""
        self._began = time.perf_counter(), time.process_time()

    def end(self, photos: int) -> None:
        """Count what came of so many photos."""
        self.wall += time.perf_counter() - self._began[0]
        self.cpu += time.process_time() - self._began[1]
        self.photos += photos

    def row(self, name: str) -> str:
        """A line of the answer."""
        busy = self.cpu / self.wall / cores()
        return f"{name:10} {self.photos / self.wall:6.2f} photos/s   cpu {self.cpu:6.1f} s: cores busy {busy:4.0%}"


def compare(remover: Remover, photos: list[Path], chunk: int) -> None:
    """The plain loop and the pipeline over the same photos."""
    request, loop, overlapped = Request(CLASSES), Use(), Use()
    with tempfile.TemporaryDirectory() as folder:

        def save(name: str, result: Result | None) -> None:
            assert result is not None, f"{name} failed"
            if result.changed:
                result.save(Path(folder, name))

        for first in range(0, len(photos), chunk):
            some, alone = photos[first : first + chunk], {}
            loop.begin()
            for photo in some:
                try:
                    result = remover(photo, CLASSES)
                except ObjRemoveError as error:
                    print(f"left out: {photo.name}: {error}", flush=True)
                    continue
                save(photo.name, result)
                alone[photo] = hash(result.pixels.tobytes())
            loop.end(len(alone))
            overlapped.begin()
            jobs = (Job(photo, photo, request) for photo in alone)
            for outcome in pipeline.run(remover, jobs, lambda job, result: save(job.key.name, result)):
                assert outcome.result is not None
                assert hash(outcome.result.pixels.tobytes()) == alone[outcome.job.key]
            overlapped.end(len(alone))
            print(
                f"{first + len(some)} photos: {overlapped.photos / overlapped.wall / (loop.photos / loop.wall):.2f}x",
                flush=True,
            )
    print(loop.row("plain loop"), overlapped.row("pipeline"), sep="\n")


class Memory:
    """A `Listener` that notes the resident memory after each photo."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, float, float]] = []
        self._began = time.perf_counter()

    def begins(self, total: int, settled: int) -> None:
        """The run begins."""
        self._began = time.perf_counter()

    def line(self, line: Mapping[str, Any]) -> None:
        """A photo is done."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        self.rows.append((len(self.rows) + 1, time.perf_counter() - self._began, megabytes))

    def failed(self, item: Item, error: Exception) -> None:
        """A photo failed."""
        print(item.source, error)


def memory(remover: Remover, plan: Plan, output: Path) -> Memory:
    """A folder run over the plan."""
    listener = Memory()
    with opened(output, {}) as manifest:
        tally = folder_run.run(remover, Request(CLASSES), plan, manifest, folder_run.Settings(), listener=listener)
    done = sum(tally.now.values())
    print(f"{dict(tally.now)} in {tally.seconds:.0f} s: {done / tally.seconds:.2f} photos/s")
    return listener


def plot(rows: list[tuple[int, float, float]], title: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
    axes.plot([row[0] for row in rows], [row[2] for row in rows], linewidth=1)
    axes.set(xlabel="photos done", ylabel="resident memory, MB", ylim=(0, None), xlim=(0, len(rows)), title=title)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--compare", type=int, default=0, help="photos for the comparison")
    parser.add_argument("--chunk", type=int, default=25)
    parser.add_argument("--memory", type=int, default=0, help="photos for the memory check")
    parser.add_argument("--inpainter", default="auto")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()

    remover = Remover(inpainter=options.inpainter, offline=True)
    remover.prepare(CLASSES)
    paths = sorted(path for path in options.photos.rglob("*") if path.is_file())
    if options.compare:
        compare(remover, paths[:: max(1, len(paths) // options.compare)][: options.compare], options.chunk)
    if options.memory:
        with tempfile.TemporaryDirectory() as folder:
            plan = make_plan([str(options.photos)], Layout(Path(folder)))
            step = max(1, len(plan.items) // options.memory)
            rows = memory(remover, Plan(plan.items[::step][: options.memory]), Path(folder)).rows
        late = [row[2] for row in rows[len(rows) // 2 :]]
        print(f"resident after 100 photos {rows[99][2]:.0f} MB, peak {max(row[2] for row in rows):.0f} MB,", end=" ")
        print(f"second half {min(late):.0f} to {max(late):.0f} MB")
        if options.csv:
            with options.csv.open("w", newline="") as file:
                csv.writer(file).writerows([("photos", "seconds", "resident MB"), *rows])
        if options.plot:
            plot(rows, f"{len(rows)} photos, {CLASSES}, {options.inpainter}", options.plot)


if __name__ == "__main__":
    main()
