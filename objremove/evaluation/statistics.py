"""Means with what they are worth: intervals over the photos, by bootstrap or, for shares, after Wilson, and wins photo by photo."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from objremove.evaluation.rows import SCORES, Row

_RESAMPLES = 1000
_DEVIATIONS = 1.96  # of a normal distribution, on either side of its mean, hold 95 % of it


def draw_photos(count: int, limit: int | None, seed: int) -> Sequence[int]:
    """Indices of `limit` photos of `count`, drawn by the seed, in their order; all where there is no limit."""
    if limit is None or limit >= count:
        return range(count)
    return sorted(int(index) for index in np.random.default_rng(seed).permutation(count)[:limit])


@dataclass(frozen=True)
class Estimate:
    """A mean over `count` photos, and the 95 % interval of it; of one photo nothing is known but its value."""

    mean: float
    low: float
    high: float
    count: int

    def text(self, digits: int) -> str:
        """`0.512 ±0.031`, half the interval's width; of one photo the value alone."""
        mean = f"{self.mean:.{digits}f}"
        return mean if self.count < 2 else f"{mean} ±{(self.high - self.low) / 2:.{digits}f}"


def estimate(values: Sequence[float], *, ratio: bool = False, event: bool = False, seed: int = 0) -> Estimate:
    """The mean of one value or more, geometric where they are ratios, with the interval of its resampled means.

    Of events, 0 or 1 each, resampling knows nothing where none happened: their interval is Wilson's (1927).
    """
    if event:
        return _share(sum(values) / len(values), len(values))
    sample = np.log(values) if ratio else np.asarray(values, np.float64)
    drawn = np.random.default_rng(seed).integers(len(sample), size=(_RESAMPLES, len(sample)))
    low, high = np.percentile(sample[drawn].mean(axis=1), (2.5, 97.5))
    figures = (float(sample.mean()), float(low), float(high))
    mean, low, high = (math.exp(figure) for figure in figures) if ratio else figures
    return Estimate(mean, low, high, len(sample))


def _share(mean: float, count: int) -> Estimate:
    widened = 1 + _DEVIATIONS**2 / count
    middle = (mean + _DEVIATIONS**2 / (2 * count)) / widened
    half = _DEVIATIONS * math.sqrt(mean * (1 - mean) / count + (_DEVIATIONS / (2 * count)) ** 2) / widened
    return Estimate(mean, max(0.0, middle - half), min(1.0, middle + half), count)


def summarise(rows: Iterable[Row], *, seed: int = 0) -> dict[tuple[str, str, str], Estimate]:
    """Estimates by (group, method, score), in the order of first appearance."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        for name, value in row.scores.items():
            values.setdefault((row.group, row.method, name), []).append(value)
    return {
        key: estimate(sample, ratio=SCORES[key[2]].better == "one", event=SCORES[key[2]].event, seed=seed)
        for key, sample in values.items()
    }


@dataclass(frozen=True)
class Wins:
    """On which share of `count` photos `method` beats `other`; a tie counts half."""

    group: str
    score: str
    method: str
    other: str
    share: float
    count: int


def paired_wins(rows: Sequence[Row], score: str) -> list[Wins]:
    """Every method against every other, on the photos that both were scored on, group by group."""
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        if score in row.scores:
            tables.setdefault(row.group, {}).setdefault(row.method, {})[row.photo] = _badness(score, row.scores[score])
    found = []
    for group, methods in tables.items():
        for method, mine in methods.items():
            for other, theirs in methods.items():
                shared = mine.keys() & theirs.keys()
                if method != other and shared:
                    points = sum((mine[key] < theirs[key]) + (mine[key] == theirs[key]) / 2 for key in shared)
                    found.append(Wins(group, score, method, other, points / len(shared), len(shared)))
    return found


def _badness(score: str, value: float) -> float:
    better = SCORES[score].better
    return abs(math.log(value)) if better == "one" else -value if better == "higher" else value
