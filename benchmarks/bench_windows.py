"""What a removal costs: windows against one pass over the whole photo, and the memory of the whole process.

    python benchmarks/bench_windows.py            # 12 megapixels, a hole of 3 %, a network of big-lama's size; then 100 megapixels
    python benchmarks/bench_windows.py --quick    # 3 megapixels only

Every measurement is a process of its own, so that its peak memory is its own; times are of the filling alone, weights loaded.
The network has big-lama's layout and random weights: its cost is the same whatever it has learned.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Run the measurements and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 megapixels only")
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        job, weights, photo, height, width = options.work
        print(json.dumps(measure(job, Path(weights), Path(photo), (int(height), int(width)))))
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "big-lama-random.safetensors"
        make_weights(weights)
        jobs = [("windows", 3, 0.03, 1.0), ("whole", 3, 0.03, 1.0)]
        if not options.quick:
            jobs = [("windows", 12, 0.03, shape) for shape in (1.0, 3.0, 0.2)]
            jobs += [("whole", 12, 0.03, 1.0), ("windows", 100, 0.0004, 1.0), ("road", 100, 0.0004, 1.0)]
        print(
            "| job | megapixels | hole | hole's height x width | seconds | windows | peak MB |\n|---|---|---|---|---|---|---|"
        )
        answers = {}
        for job, megapixels, share, shape in jobs:
            photo = Path(folder) / f"{megapixels}.jpg"
            size = (round(1000 * math.sqrt(megapixels * 0.75)), round(1000 * math.sqrt(megapixels / 0.75)))
            area = share * size[0] * size[1]
            hole = (round(math.sqrt(area * shape)), round(math.sqrt(area / shape)))
            if not photo.exists():
                make_photo(photo, size)
            done = subprocess.run(
                [sys.executable, __file__, "--work", job, str(weights), str(photo), *map(str, hole)],
                capture_output=True,
                text=True,
                check=True,
            )
            answer = answers[job, megapixels, shape] = json.loads(done.stdout.splitlines()[-1])
            print(
                f"| {job} | {megapixels} | {100 * share:g} % | {hole[0]} x {hole[1]} | {answer['seconds']:.2f} | {answer['windows']} "
                f"| {answer['peak_mb']:.0f} |",
                flush=True,
            )
        megapixels = jobs[0][1]
        whole = answers["whole", megapixels, 1.0]["seconds"]
        ratios = [whole / answers[job]["seconds"] for job in answers if job[:2] == ("windows", megapixels)]
        print(
            f"\nwhole-photo pass / windows at {megapixels} megapixels: {', '.join(f'{ratio:.1f}' for ratio in ratios)}"
        )


def make_weights(path: Path) -> None:
    """Save a big-lama of random weights."""
    import torch

    from objremove.inpainting.lama import CONFIGS, build_generator
    from objremove.inpainting.lama.checkpoint import save_generator

    torch.manual_seed(0)
    save_generator(build_generator(CONFIGS["big-lama"]).eval(), path, {})


def make_photo(path: Path, size: tuple[int, int]) -> None:
    """A smooth, noisy picture: what it shows doesn't matter here."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    small = rng.integers(40, 200, (size[0] // 40, size[1] // 40, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC).save(path, quality=92)


def measure(job: str, weights: Path, photo: Path, hole_size: tuple[int, int]) -> dict[str, float]:
    """Seconds, windows and peak memory of one job in this process.

    `windows` fills through `Remover.fill`, `whole` runs the same network once over the whole photo, `road` reads the file, finds
    with the embedded segmenter, fills, and writes the file again.
    """
    import numpy as np
    import torch

    from objremove import Remover

    remover = Remover(inpainter=weights, offline=True)
    inpainter = remover.shelf.inpainter()
    inpainter.fill(np.zeros((1, 64, 64, 3), np.float32), np.eye(64, dtype=bool)[None])
    opened = remover.open(photo)
    height, width = opened.size
    hole = np.zeros((height, width), bool)
    hole[height // 4 : height // 4 + hole_size[0], width // 4 : width // 4 + hole_size[1]] = True
    windows = 1
    started = time.perf_counter()
    if job == "whole":
        with torch.inference_mode():
            inpainter.fill((opened.pixels.astype(np.float32) / np.float32(255))[None], hole[None])
    else:
        if job == "road":
            remover.find(opened, "person")
        result = remover.fill(opened, hole)
        windows = result.windows
        if job == "road":
            result.save(photo.with_suffix(".out.jpg"))
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "windows": windows, "peak_mb": peak}


if __name__ == "__main__":
    main()
