"""How fast and how exact LaMa's inference form is: the plain module against the folded one in fp32 and in bf16.

    python benchmarks/bench_lama.py [--quick] [--config big-lama] [--threads N] [--photo FILE]

All forms run in one process, taking turns, so that whatever else the machine does hits them alike; the ratios are what counts. The
weights are random, with BatchNorm statistics calibrated on the picture; speed does not depend on their values. CPU seconds are those
of all threads, and tell more than wall seconds on a busy machine. Peak memory is what one forward pass adds in a fresh process
(Linux only).
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import re
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from objremove.inpainting.lama import CONFIGS, build_generator, fold
from objremove.inpainting.lama.generator import Generator

FORMS = {"plain fp32": None, "folded fp32": torch.float32, "folded bf16": torch.bfloat16}


def picture(side: int, photo: str | None) -> Tensor:
    """Generator input (1, 4, side, side): a photo, or noise with the 1/f spectrum of one, with a hole of a quarter of the side."""
    if photo:
        with Image.open(photo) as file:
            image = np.asarray(file.convert("RGB").resize((side, side)), np.float32).transpose(2, 0, 1) / 255
    else:
        frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
        white = np.fft.rfft2(np.random.default_rng(0).standard_normal((3, side, side)))
        image = np.fft.irfft2(white / np.maximum(frequency, 1 / side), s=(side, side))
        image = np.clip(0.5 + 0.2 * image / image.std(), 0, 1).astype(np.float32)
    hole = np.zeros((1, side, side), np.float32)
    hole[:, 3 * side // 8 : 5 * side // 8, 3 * side // 8 : 5 * side // 8] = 1
    return torch.from_numpy(np.concatenate((image * (1 - hole), hole)))[None]


def calibrated_generator(config: str, photo: str | None) -> Generator:
    """Random weights whose BatchNorm statistics fit the picture; later blocks add little, as in trained residual networks."""
    torch.manual_seed(0)
    generator = build_generator(CONFIGS[config]).train()
    for name, module in generator.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            if "conv2.bn" in name or name.endswith("conv_block.6"):
                nn.init.constant_(module.weight, 0.25)
    with torch.no_grad():
        generator(picture(256, photo))
    return generator.eval()


def make_form(generator: Generator, name: str) -> nn.Module:
    dtype = FORMS[name]
    return generator if dtype is None else fold(generator, dtype=dtype)


def resident_peak() -> float:
    """Highest resident memory of this process in MB since it was last reset (Linux)."""
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert peak is not None, "/proc does not tell"
    return int(peak[1]) / 1024


def peak_growth(form: str, config: str, side: int, threads: int, queue: multiprocessing.Queue[float]) -> None:
    """Put what a forward pass adds to the memory of this fresh process at its peak, in MB, into the queue."""
    torch.set_num_threads(threads)
    network = make_form(build_generator(CONFIGS[config]).eval(), form)
    x = picture(side, None)
    with torch.inference_mode():
        network(picture(32, None))  # libraries load what they need once
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what building left free must not hide what the pass takes
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = resident_peak()
        network(x)
    queue.put(resident_peak() - before)


def measured_peak(form: str, config: str, side: int, threads: int) -> float:
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[float] = context.Queue()
    process = context.Process(target=peak_growth, args=(form, config, side, threads, queue))
    process.start()
    process.join()
    return queue.get(timeout=1)


def measure(networks: dict[str, nn.Module], x: Tensor, repeats: int) -> dict[str, tuple[float, float, Tensor]]:
    """Median wall and CPU seconds of each form, taking turns, and its answer."""
    wall: dict[str, list[float]] = {name: [] for name in networks}
    cpu: dict[str, list[float]] = {name: [] for name in networks}
    answers = {}
    with torch.inference_mode():
        for turn in range(repeats + 1):
            for name, network in networks.items():
                started, started_cpu = time.perf_counter(), time.process_time()
                answers[name] = network(x)
                if turn:  # the first one warms up
                    wall[name].append(time.perf_counter() - started)
                    cpu[name].append(time.process_time() - started_cpu)
    return {name: (statistics.median(wall[name]), statistics.median(cpu[name]), answers[name]) for name in networks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="256 pixels only, two repeats, no memory")
    parser.add_argument("--config", choices=tuple(CONFIGS), default="big-lama")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--photo", help="a photo instead of synthetic texture")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    generator = calibrated_generator(args.config, args.photo)
    networks = {name: make_form(generator, name) for name in FORMS}
    print(
        f"{args.config}, {args.threads} threads, torch {torch.__version__}; differences to plain fp32 in grey levels (1/255)"
    )
    print("side  form         wall s  ratio   CPU s  ratio  mean diff  max diff  peak MB")
    for side in (256,) if args.quick else (256, 512, 1024):
        results = measure(networks, picture(side, args.photo), 2 if args.quick else args.repeats)
        plain_wall, plain_cpu, exact = results["plain fp32"]
        for name, (wall, cpu, answer) in results.items():
            difference = (answer - exact).abs() * 255
            peak = "-" if args.quick else f"{measured_peak(name, args.config, side, args.threads):.0f}"
            print(
                f"{side:4}  {name:11}  {wall:6.2f}  {plain_wall / wall:5.2f}  {cpu:6.2f}  {plain_cpu / cpu:5.2f}"
                f"  {difference.mean():9.4f}  {difference.max():8.4f}  {peak:>7}",
                flush=True,
            )


if __name__ == "__main__":
    main()
