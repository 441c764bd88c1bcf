"""The stream of batches: a pure function of (seed, rank, step), prepared ahead by threads.

Whoever resumes at a step sees what the uninterrupted run would have seen; nothing of the stream needs to be saved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from objremove.training.share import processors

Sample = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Photo (H, W, 3) RGB, and per pixel the hole (0 / 1) or the class index: (H, W)."""

MakeSample = Callable[[np.random.Generator, int], Sample]
"""(rng, crop side in pixels) to a sample."""


class BatchStream:
    """Iterates over (photos (B, H, W, 3), targets (B, H, W)), both uint8 tensors on the CPU, from `first_step` on.

    Args:
        make_sample: makes a sample from a random generator alone.
        size: crop side in pixels of a step.
        batch: samples in a batch.
        seed, rank: of the run and of this process.
        first_step: where to begin.
        workers: threads; twice as many batches are prepared ahead. More than the batches that are needed are never begun twice.
        pin: page-lock the tensors, for transfers to a GPU that overlap with its work.
    """

    def __init__(
        self,
        make_sample: MakeSample,
        size: Callable[[int], int],
        *,
        batch: int,
        seed: int,
        rank: int = 0,
        first_step: int = 0,
        workers: int = 1,
        pin: bool = False,
    ) -> None:
        self._make_sample, self._size, self._batch = make_sample, size, batch
        self._seed, self._rank, self._next, self._pin = seed, rank, first_step, pin
        self._pool = ThreadPoolExecutor(workers, "batches")
        self._ahead: deque[Future[tuple[Tensor, Tensor]]] = deque()
        for _ in range(2 * workers):
            self._submit()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            ready = self._ahead.popleft().result()
            self._submit()
            yield ready

    def waiting(self) -> int:
        """How many batches are ready; 0 most of the time means that the workers are the bottleneck."""
        return sum(future.done() for future in self._ahead)

    def close(self) -> None:
        """Stop the threads; batches in work are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self) -> None:
        self._ahead.append(self._pool.submit(self._make, self._next, self._size(self._next)))
        self._next += 1

    def _make(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        samples = [
            self._make_sample(np.random.default_rng((self._seed, self._rank, step, place)), size)
            for place in range(self._batch)
        ]
        photos, targets = (torch.from_numpy(np.stack(part)) for part in zip(*samples, strict=True))
        return (photos.pin_memory(), targets.pin_memory()) if self._pin else (photos, targets)


def worker_count(configured: int, on_gpu: bool) -> int:
    """Threads for `BatchStream`: as configured; else one on a CPU, where the network needs the cores, its share of them beside a GPU."""
    # Each batch has its own thread: OpenCV's own threads would only get in each other's way.
    cv2.setNumThreads(0)
    return configured or (max(2, processors()) if on_gpu else 1)
