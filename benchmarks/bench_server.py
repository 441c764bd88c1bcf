"""What a server takes: latency and refusals under load, and its memory before and after a thousand requests. On this machine only.

    python benchmarks/bench_server.py            # about five minutes on two busy cores
    python benchmarks/bench_server.py --quick    # a tenth of the requests

It starts `objremove serve` as a process of its own, sends it drawn photos over the loopback, and ends it. Masks and Telea are used,
so that the figures are the server's own: what networks cost is in bench_windows.py and bench_lama.py.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx2 as httpx
import numpy as np
from PIL import Image

QUEUE = 8
CLIENTS = 24


def main() -> None:
    """Run the measurements and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the requests")
    share = 10 if parser.parse_args().quick else 1
    small, large = photo_and_mask(480, 640), photo_and_mask(3000, 4000)
    with server() as client:
        print("| requests | clients | answered | refused (429) | p50 ms | p95 ms | requests/s | MB before | MB after |")
        print("|---|---|---|---|---|---|---|---|---|")
        row(client, "0.3 megapixels, one after another", 1, 1000 // share, lambda: removal(client, *small))
        row(client, f"0.3 megapixels, {CLIENTS} at once", CLIENTS, 500 // share, lambda: removal(client, *small))
        row(client, "12 megapixels, one after another", 1, 10 // share, lambda: removal(client, *large))
        row(client, "health, while 12 megapixels are filled", 1, 200 // share, lambda: client.get("/healthz"), large)


def row(
    client: httpx.Client,
    title: str,
    clients: int,
    count: int,
    ask: Callable[[], httpx.Response],
    meanwhile: tuple[bytes, bytes] | None = None,
) -> None:
    """One line of the table."""
    ask()
    before = memory(client)
    with ThreadPoolExecutor(clients + 1) as pool:
        if meanwhile:
            others = [pool.submit(removal, client, *meanwhile) for _ in range(4)]
        started = time.perf_counter()
        answers = list(pool.map(lambda _: timed(ask), range(count)))
        seconds = time.perf_counter() - started
        if meanwhile:
            for other in others:
                other.result()
    statuses = Counter(status for status, _ in answers)
    if set(statuses) - {200, 429}:
        raise SystemExit(f"{title}: unexpected answers {dict(statuses)}")
    times = np.array([1000 * elapsed for status, elapsed in answers if status == 200])
    middle, most = np.percentile(times, [50, 95])
    print(
        f"| {title} | {clients} | {statuses[200]} | {statuses[429]} | {middle:.0f} | {most:.0f} "
        f"| {statuses[200] / seconds:.1f} | {before:.0f} | {memory(client):.0f} |",
        flush=True,
    )


def timed(ask: Callable[[], httpx.Response]) -> tuple[int, float]:
    """The status of an answer, and the seconds until it was there."""
    started = time.perf_counter()
    return ask().status_code, time.perf_counter() - started


def removal(client: httpx.Client, photo: bytes, mask: bytes) -> httpx.Response:
    """Send a photo and a mask, get the photo without it."""
    return client.post("/v1/remove", files={"photo": ("photo.jpg", photo), "mask": ("mask.png", mask)})


def memory(client: httpx.Client) -> float:
    """Megabytes that the server has in memory."""
    lines = client.get("/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("objremove_memory_bytes "))) / 1e6


def photo_and_mask(height: int, width: int) -> tuple[bytes, bytes]:
    """A drawn JPEG and a mask of 1 % of it."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (height // 40, width // 40, 3), np.uint8)
    picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 2 : height // 2 + height // 10, width // 2 : width // 2 + width // 10] = 255
    return encoded(picture, "JPEG"), encoded(Image.fromarray(mask), "PNG")


def encoded(picture: Image.Image, format: str) -> bytes:
    """The picture as a file."""
    target = io.BytesIO()
    picture.save(target, format, quality=92)
    return target.getvalue()


@contextmanager
def server() -> Iterator[httpx.Client]:
    """A server of its own, and a client of it."""
    # What is kept for clients is bounded here, so that what is left of growth would be a leak.
    options = [
        "--port",
        "0",
        "--no-open",
        "--inpainter",
        "telea",
        "--offline",
        "--queue",
        str(QUEUE),
        "--keep-megabytes",
        "50",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "objremove", "serve", *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )
    assert process.stdout is not None
    try:
        with httpx.Client(base_url=process.stdout.readline().strip(), timeout=120) as client:
            while client.get("/readyz").status_code != 200:
                time.sleep(0.1)
            yield client
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
