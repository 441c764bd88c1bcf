"""Plots of a run, as PNG, without a display."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from objremove.evaluation.rows import SCORES, Row
from objremove.evaluation.statistics import estimate, summarise

_COLUMNS = 4
_BINS = 5


def plot_scores(rows: Sequence[Row], path: Path, *, seed: int) -> None:
    """Every score's mean with its 95 % interval, by group and method."""
    estimates = summarise(rows, seed=seed)
    names = [name for name in SCORES if name != "hole_share" and any(name in row.scores for row in rows)]
    groups = list(dict.fromkeys(row.group for row in rows))
    methods = list(dict.fromkeys(row.method for row in rows))
    lines = math.ceil(len(names) / _COLUMNS)
    figure = Figure(figsize=(4.2 * _COLUMNS, 2.8 * lines + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    for place, name in enumerate(names):
        axes = figure.add_subplot(lines, _COLUMNS, place + 1)
        for number, method in enumerate(methods):
            shift = (number - (len(methods) - 1) / 2) * 0.6 / len(methods)
            found = [(at, estimates.get((group, method, name))) for at, group in enumerate(groups)]
            points = [(at + shift, one.mean, one.mean - one.low, one.high - one.mean) for at, one in found if one]
            if points:
                x, mean, below, above = zip(*points, strict=True)
                axes.errorbar(x, mean, yerr=(below, above), fmt="o", capsize=3, color=f"C{number}", label=method)
        axes.set_title(SCORES[name].heading, fontsize=10)
        axes.set_xticks(range(len(groups)), groups, rotation=30, ha="right", fontsize=8)
        axes.set_xlim(-0.5, len(groups) - 0.5)
        axes.grid(axis="y", alpha=0.3)
    _legend(figure)
    figure.savefig(path, dpi=90)


def plot_by_hole(rows: Sequence[Row], path: Path) -> bool:
    """The main score and the seam over the share of the photo that the hole covers, all groups together, in bins of equal counts.

    Returns:
        Whether any row has such a score: without one there is no picture.
    """
    names = [name for name in ("lpips", "perceptual", "ssim_hole", "seam") if any(name in row.scores for row in rows)]
    if not names:
        return False
    methods = list(dict.fromkeys(row.method for row in rows))
    figure = Figure(figsize=(4.2 * len(names), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for place, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), place + 1)
        for number, method in enumerate(methods):
            pairs = [
                (row.scores["hole_share"], row.scores[name])
                for row in rows
                if row.method == method and name in row.scores
            ]
            if pairs:
                parts = np.array_split(np.array(sorted(pairs)), min(_BINS, len(pairs)))
                ratio = SCORES[name].better == "one"
                means = [estimate(part[:, 1].tolist(), ratio=ratio).mean for part in parts]
                axes.plot([part[:, 0].mean() for part in parts], means, "o-", color=f"C{number}", label=method)
        axes.set_title(SCORES[name].heading, fontsize=10)
        axes.set_xlabel("hole's share of the photo", fontsize=8)
        axes.grid(alpha=0.3)
    _legend(figure)
    figure.savefig(path, dpi=90)
    return True


def _legend(figure: Figure) -> None:
    labelled = {
        label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=4, fontsize=9)
