"""What it costs to keep a JPEG as it was outside the hole, against saving it anew at quality 95.

    python benchmarks/bench_jpeg_splice.py [photo.jpg]

Without a photo, a scene of 12 megapixels is made up. The hole is a disc of 3 % of the area. Times are the best of three runs in the same
process; `changed` is the share of pixels outside the hole that differ from the source in any channel.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from objremove.photo import Photo
from objremove.types import Pixels

T = TypeVar("T")


def made_up_photo(height: int = 3000, width: int = 4000) -> bytes:
    """A JPEG with shapes of all sizes and some sensor noise, as a camera writes it (quality 92, 4:2:0)."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((height, width, 3), dtype=np.float32)
    for size in (4, 16, 64, 256):
        coarse = rng.normal(0, 1, (height // size + 1, width // size + 1, 3)).astype(np.float32)
        layer = Image.fromarray(np.clip(coarse * 40 + 128, 0, 255).astype(np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        pixels += (np.asarray(layer, dtype=np.float32) - 128) * (size / 256) ** 0.5
    pixels += rng.normal(0, 2, pixels.shape).astype(np.float32)
    target = io.BytesIO()
    Image.fromarray(np.clip(pixels + 128, 0, 255).astype(np.uint8)).save(target, "JPEG", quality=92)
    return target.getvalue()


def best_of(repeats: int, work: Callable[[], T]) -> tuple[float, T]:
    """The least seconds of so many runs, and what the last one gave."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def saved_anew(pixels: Pixels) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=95)
    return target.getvalue()


def main() -> None:
    source = Path(sys.argv[1]).read_bytes() if len(sys.argv) > 1 else made_up_photo()
    opening, photo = best_of(3, lambda: Photo.open(source))
    height, width = photo.size
    y, x = np.ogrid[:height, :width]
    hole = (y - height / 2) ** 2 + (x - width / 2) ** 2 < 0.03 * height * width / np.pi
    pixels = photo.pixels.copy()
    pixels[hole] = pixels[~hole].mean(axis=0)

    splice, spliced = best_of(3, lambda: photo.encode(pixels, hole).data)
    save, anew = best_of(3, lambda: saved_anew(pixels))
    print(f"{width} x {height} pixels, {len(source) / 1e6:.2f} MB, hole {hole.mean():.1%}; opened in {opening:.2f} s")
    for name, seconds, data in (("splice", splice, spliced), ("quality 95", save, anew)):
        changed = (Photo.open(data).pixels != photo.pixels).any(axis=2)[~hole].mean()
        print(f"{name:>10}: {seconds:.2f} s, {len(data) / 1e6:.2f} MB, changed outside the hole {changed:.3%}")
    print(f"     ratio: {splice / save:.2f}")


if __name__ == "__main__":
    main()
