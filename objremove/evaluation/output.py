"""What a run leaves behind: report.md, tables as CSV, plots and the contact sheet."""

from __future__ import annotations

import csv
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import objremove
from objremove.evaluation.rows import SCORES, Row
from objremove.evaluation.sheets import SheetRow, contact_sheet
from objremove.evaluation.statistics import Estimate, paired_wins, summarise

Cells = Sequence[Sequence[str]]
"""A table: its heading, then its lines."""

_OWN = (
    "report.md", "scores.csv", "summary.csv", "wins.csv", "classes.csv", "requests.csv",
    "scores.png", "by-hole.png", "contact-sheet.png",
)  # fmt: skip
"""All that a run may leave behind."""


@dataclass(frozen=True)
class Section:
    """A heading, what is to be said, and tables."""

    title: str
    text: str
    tables: Sequence[Cells] = ()


def write_report(
    folder: Path,
    title: str,
    rows: Sequence[Row],
    sections: Sequence[Section],
    *,
    sheet: Sequence[SheetRow],
    sheet_columns: Sequence[str],
    seed: int,
) -> None:
    """Write everything into `folder`: scores.csv, summary.csv, wins.csv, scores.png, by-hole.png, contact-sheet.png, report.md;
    what there is nothing to show for is left out, and what an earlier run showed is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _OWN:
        (folder / name).unlink(missing_ok=True)
    pictures = []
    if rows:
        _write_rows(folder, rows, seed)
        from objremove.evaluation.plots import plot_by_hole, plot_scores

        plot_scores(rows, folder / "scores.png", seed=seed)
        pictures.append("scores.png")
        if plot_by_hole(rows, folder / "by-hole.png"):
            pictures.append("by-hole.png")
    if sheet:
        contact_sheet(sheet_columns, sheet).save(folder / "contact-sheet.png")
        pictures.insert(0, "contact-sheet.png")
    parts = [f"# {title}\n"]
    for section in sections:
        parts.append(f"## {section.title}\n\n{section.text}\n")
        parts += [markdown(table) for table in section.tables]
    parts += [f"![{name.removesuffix('.png')}]({name})\n" for name in pictures]
    (folder / "report.md").write_text("\n".join(parts), encoding="utf-8")


def score_tables(
    rows: Sequence[Row],
    *,
    seed: int,
    frechet: Mapping[tuple[str, str], float] | None = None,
    scores: Iterable[str] = SCORES,
) -> dict[str, Cells]:
    """A table of means with half the width of their 95 % intervals for each group; a score that nobody has stays empty.

    Args:
        rows: what was measured.
        seed: of the bootstrap.
        frechet: FID by (group, method); None leaves the column out, an empty mapping leaves it empty.
        scores: columns.
    """
    estimates = summarise(rows, seed=seed)
    tables: dict[str, Cells] = {}
    columns = [name for name in scores if name != "hole_share"]
    heading = ["method", "cases", *(SCORES[name].heading for name in columns)]
    for group in dict.fromkeys(row.group for row in rows):
        table = [[*heading, "FID ↓"] if frechet is not None else heading]
        for method in dict.fromkeys(row.method for row in rows if row.group == group):
            count = sum(row.group == group and row.method == method for row in rows)
            cells = [method, str(count), *(_cell(estimates.get((group, method, name)), name) for name in columns)]
            if frechet is not None:
                cells.append(f"{frechet[group, method]:.1f}" if (group, method) in frechet else "")
            table.append(cells)
        tables[group] = table
    return tables


def wins_table(rows: Sequence[Row], score: str, group: str) -> Cells:
    """On which share of the photos the method of the line beats that of the column."""
    methods = list(dict.fromkeys(row.method for row in rows if row.group == group))
    shares = {(one.method, one.other): one.share for one in paired_wins(rows, score) if one.group == group}
    lines = [
        [method, *(f"{100 * shares[method, other]:.0f} %" if (method, other) in shares else "" for other in methods)]
        for method in methods
    ]
    return [[f"{SCORES[score].title}: line beats column", *methods], *lines]


def markdown(table: Cells) -> str:
    """The table in Markdown, numbers as they are."""
    lines = ["| " + " | ".join(line) + " |" for line in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]]) + "\n"


def write_csv(path: Path, table: Iterable[Sequence[Any]]) -> None:
    """Write a table, heading first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(table)


def machine() -> str:
    """What the seconds were measured on, in one line."""
    import torch

    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads"
    return f"{_processor()}, {cores}{load}; torch {torch.__version__}, {platform.system()} {platform.machine()}"


def code() -> str:
    """The version of objremove, and the commit where it runs from a checkout: `-dirty` tells of changes since."""
    root = Path(objremove.__file__).parents[1]
    version = f"objremove {objremove.__version__}"
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return version
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return version if answer.returncode else f"{version}, commit {answer.stdout.strip()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown processor")


def _cell(value: Estimate | None, name: str) -> str:
    return "" if value is None else value.text(SCORES[name].digits)


def _write_rows(folder: Path, rows: Sequence[Row], seed: int) -> None:
    names = [name for name in SCORES if any(name in row.scores for row in rows)]
    table: list[Sequence[Any]] = [["group", "photo", "method", *names]]
    for row in rows:
        figures = (f"{row.scores[name]:.6g}" if name in row.scores else "" for name in names)
        table.append([row.group, row.photo, row.method, *figures])
    write_csv(folder / "scores.csv", table)
    summary: list[Sequence[Any]] = [["group", "method", "score", "mean", "low", "high", "photos"]]
    for (group, method, name), one in summarise(rows, seed=seed).items():
        figures = (f"{value:.6g}" for value in (one.mean, one.low, one.high))
        summary.append([group, method, name, *figures, one.count])
    write_csv(folder / "summary.csv", summary)
    wins: list[Sequence[Any]] = [["group", "score", "method", "beats", "share", "photos"]]
    for name in names:
        if name != "hole_share":
            for win in paired_wins(rows, name):
                wins.append([win.group, name, win.method, win.other, f"{win.share:.4f}", win.count])
    write_csv(folder / "wins.csv", wins)
