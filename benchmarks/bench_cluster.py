"""How a cluster run grows from 1 to 2 workers of one core each, on this machine.

    python benchmarks/bench_cluster.py                # 160 drawn photos of 0.8 megapixels, slices of 10 s
    python benchmarks/bench_cluster.py --photos 60    # a shorter look

One run with two workers, of which the second is held (SIGSTOP) in every other slice of time. So both numbers of workers see the same
minutes, which matters where the machine has others to serve, and the start of Ray and of the models is in neither. Each photo is searched
by the embedded segmenter, and a box of 160 x 160 pixels is filled by the embedded inpainter.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

BOX = "420,300,580,460"
WARM = 8
"""So many photos are done before the slices begin."""


class Slices:
    """A `Listener` that holds one worker in every other slice, and counts photos and processor time of each kind."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._photos, self._over = seconds, 0, threading.Event()
        self._thread = threading.Thread(target=self._alternate)
        self.started, self.first_news = time.perf_counter(), 0.0
        self.sums = {1: [0.0, 0.0, 0.0], 2: [0.0, 0.0, 0.0]}  # seconds, photos, processor seconds of the workers

    def begins(self, plan: Any) -> None:
        """See `Listener`."""

    def failed(self, name: str, reason: str) -> None:
        """See `Listener`."""
        print(f"{name}: {reason}")

    def goes_on(self, photos: int) -> None:
        """See `Listener`."""
        self._photos = photos
        self.first_news = self.first_news or time.perf_counter() - self.started
        if photos >= WARM and not self._thread.ident and len(worker_ids()) == 2:
            self._thread.start()

    def end(self) -> None:
        """No slice begins any more."""
        self._over.set()
        if self._thread.ident:
            self._thread.join()

    def _alternate(self) -> None:
        ids, count = worker_ids(), 2
        while not self._over.is_set():
            count = 3 - count
            os.kill(ids[1], signal.SIGSTOP if count == 1 else signal.SIGCONT)
            before = time.perf_counter(), self._photos, processor_seconds(ids)
            self._over.wait(self._seconds)
            after = time.perf_counter(), self._photos, processor_seconds(ids)
            if count == 1:
                os.kill(ids[1], signal.SIGCONT)
            if not self._over.is_set() and worker_ids() == ids:  # the last slice sees the end of the work
                self.sums[count] = [sum_ + b - a for sum_, a, b in zip(self.sums[count], before, after, strict=True)]


def worker_ids() -> list[int]:
    """The processes of the workers."""
    import psutil

    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found += [one.pid] if "MapWorker" in "".join(one.cmdline()[:1]) else []
    return found


def processor_seconds(ids: list[int]) -> float:
    """What the processes have used so far."""
    import psutil

    total = 0.0
    for one in ids:
        with suppress(psutil.Error):
            times = psutil.Process(one).cpu_times()
            total += times.user + times.system
    return total


def main() -> None:
    """Run the measurement and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=160)
    parser.add_argument("--slice", type=float, default=10.0, help="seconds")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault(
        "RAY_worker_niceness", "0"
    )  # Ray's own 15 leaves workers what the neighbours leave, however many they are

    from objremove.cluster.machines import Workers
    from objremove.cluster.plan import Settings
    from objremove.cluster.run import run
    from objremove.cluster.worker import Task
    from objremove.remover import Remover

    request: dict[str, Any] = {"remove": ["person"], "boxes": [BOX]}
    how: dict[str, Any] = {"second_look": False}
    models = Remover(**how).prepare(**request)
    slices = Slices(options.slice)
    with tempfile.TemporaryDirectory() as folder:
        make_photos(Path(folder) / "in", options.photos)
        task = Task(how, request, models, f"{folder}/out", environment={"OMP_WAIT_POLICY": "PASSIVE"})
        load = os.getloadavg()[0]
        slices.started = time.perf_counter()
        try:
            run([f"{folder}/in"], task, {}, Settings(batch=1), Workers(2, 1, 0), listener=slices)
        finally:
            slices.end()
    print(
        "| workers | seconds | photos | photos/s | processor seconds of the workers, each photo |\n|---|---|---|---|---|"
    )
    rates = {}
    for count, (seconds, photos, used) in slices.sums.items():
        rates[count] = photos / seconds
        print(f"| {count} | {seconds:.0f} | {photos:.0f} | {rates[count]:.3f} | {used / photos:.2f} |")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nratio {rates[2] / rates[1]:.2f}; load average {load:.1f} before, {os.getloadavg()[0]:.1f} after")
    print(f"first photo after {slices.first_news:.0f} s; the driver's peak memory {memory:.0f} MB")


def make_photos(folder: Path, count: int) -> None:
    """Soft pictures of 1024 x 768 pixels: what they show doesn't matter here."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    for number in range(count):
        small = np.random.default_rng(number).integers(40, 200, (19, 26, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((1024, 768), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:04}.jpg", quality=90)


if __name__ == "__main__":
    main()
