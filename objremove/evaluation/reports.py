"""What the two reports say: the words and tables of report.md, and the short tables that the command prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from objremove.classes import VOC
from objremove.evaluation.filling import Filling
from objremove.evaluation.looks import ALONE, LEAST_IOU, LEAST_SHARE, WHOLE, Asked
from objremove.evaluation.methods import describe
from objremove.evaluation.output import Cells, Section, code, machine, score_tables, wins_table, write_csv, write_report
from objremove.evaluation.removal import Removal
from objremove.evaluation.rows import SCORES, Row
from objremove.remover import Remover

_MARKS = "± is half of the 95 % interval of the mean over photos (bootstrap; of shares Wilson's); ↑ higher, ↓ lower, →1 nearer 1 is better."
_REQUESTS = (
    f"Present: each class on at least {LEAST_SHARE:.0%} of a photo by its labels; answered where an instance overlaps these "
    f"pixels by an IoU above {LEAST_IOU}, whole where all that is found covers {WHOLE:.0%} of them, alone where {ALONE:.0%} of "
    "all that is found lies on them. Absent: each class without a labelled pixel that the photo's source labels elsewhere, in "
    f"photos of which less than {LEAST_SHARE:.0%} is unknown; every such class is asked for, none is drawn. The second look "
    "follows where the first finds nothing of the class that it is sure of."
)


def report_filling(
    out: Path, result: Filling, count: int, methods: Mapping[str, Remover], notes: Sequence[str], *, seed: int
) -> dict[str, Cells]:
    """Write the report of a run over `count` photos into `out`; `notes` tell of empty columns. Returns the short tables by set."""
    found = {name for row in result.rows for name in row.scores}
    about = [
        f"{count} photos, seed {seed}; {left_out(result.failed, result.small)}.",
        f"Methods: {describe(methods)}. Code: {code()}. Machine: {machine()}.",
        _MARKS,
        *(f"{note}." for note in notes),
        *(["FID of fewer than 2,000 photos says little."] if result.frechet else []),
    ]
    sections = [Section("What was measured", "\n\n".join(about))]
    main = [name for name in ("lpips", "perceptual", "ssim_hole") if name in found]
    columns = [name for name in SCORES if name in found or name == "lpips"]
    for group, table in score_tables(result.rows, seed=seed, frechet=result.frechet, scores=columns).items():
        wins = [wins_table(result.rows, name, group) for name in main]
        sections.append(Section(group, "Below the means: on which share of the photos a method wins.", [table, *wins]))
    names = ["original", "hole", *methods]
    write_report(out, "Filling", result.rows, sections, sheet=result.sheet, sheet_columns=names, seed=seed)
    short = [name for name in (*main, "seam", "texture", "seconds") if name in found]
    return score_tables(result.rows, seed=seed, scores=short)


def report_removal(
    out: Path, result: Removal, about: str, methods: Mapping[str, Remover], *, seed: int
) -> dict[str, Cells]:
    """Write the report into `out`; `about` names photos and segmenters. Returns the short tables by title."""
    classes = _class_table(result)
    scores = result.detection
    finding = (
        f"mean IoU {scores.mean_iou:.3f} over {scores.present.sum()} classes present, background among them; "
        f"{scores.missed.sum()} of {scores.objects.sum()} labelled objects missed, "
        f"{scores.false.sum()} of {scores.found.sum()} found instances false"
    )
    looks = _look_table(result)
    measured = f"{about}, seed {seed}; {left_out(result.failed)}. Code: {code()}. Machine: {machine()}."
    sections = [
        Section("What was measured", measured),
        Section("Finding", f"Score: {finding}.", [classes]),
        Section("Requests", _REQUESTS, [looks]),
    ]
    tables = {finding: classes, "shares of requests, by the class named": looks}
    if methods:
        together = [Row("all classes", f"{row.photo} {row.group}", row.method, row.scores) for row in result.rows]
        after = score_tables(together, seed=seed, scores=("found_again", "area_left", "seam", "texture", "seconds"))
        by_class = score_tables(result.rows, seed=seed, scores=("found_again", "area_left"))
        removed = (
            f"{result.requests} times a class was asked for of which the labels hold an object; {result.unfound} times "
            f"nothing was found. Methods: {describe(methods)}.\n\n{_MARKS}"
        )
        sections.append(Section("After the removal", removed, list(after.values())))
        sections += [Section(f"After the removal: {name}", "", [table]) for name, table in by_class.items()]
        tables |= after
    names = ["original", "hole", *methods]
    write_report(out, "Removal", result.rows, sections, sheet=result.sheet, sheet_columns=names, seed=seed)
    write_csv(out / "classes.csv", classes)
    write_csv(out / "requests.csv", looks)
    return tables


def left_out(failed: Mapping[str, str], small: Mapping[str, int] | None = None) -> str:
    """What takes no part, in words: photos with their errors, and numbers of those too small by set."""
    counts = {name: count for name, count in (small or {}).items() if count}
    parts = [
        f"{count} photos smaller than the crops of {', '.join(name for name in counts if counts[name] == count)}"
        for count in dict.fromkeys(counts.values())
    ]
    parts += [f"{key}: {reason}" for key, reason in failed.items()]
    return "left out: " + "; ".join(parts) if parts else "none left out"


def _class_table(result: Removal) -> Cells:
    scores = result.detection
    lines = []
    for label, name in enumerate(VOC):
        if scores.present[label] or scores.found[label]:
            counts = (scores.objects[label], scores.missed[label], scores.found[label], scores.false[label])
            lines.append([name, f"{scores.iou[label]:.2f}" if scores.present[label] else "", *map(str, counts)])
    return [["class", "IoU", "objects", "missed", "found", "false"], *lines]


def _look_table(result: Removal) -> Cells:
    """Requests by class; the columns of the second look stay empty where there is none."""
    looks = result.looks
    asked = [label for label in range(len(VOC)) if looks.present.requests[label] or looks.absent.requests[label]]

    def line(name: str, labels: Sequence[int]) -> list[str]:
        whole, alone = (_shares(of, labels, result)[1:] for of in (looks.whole, looks.alone))  # of the same requests
        return [name, *_shares(looks.present, labels, result), *whole, *alone, *_shares(looks.absent, labels, result)]

    there = [f"{what}{look} ↑" for what in ("answered", "whole", "alone") for look in ("", " at two looks")]
    heading = ["class", "present", *there, "absent", "found ↓", "found at two looks ↓"]
    return [heading, line("all classes", asked), *(line(VOC[label], [label]) for label in asked)]


def _shares(asked: Asked, labels: Sequence[int], result: Removal) -> list[str]:
    """Number of requests, share with an answer at the first look, and with the second."""
    requests, first, second = (int(counts[labels].sum()) for counts in (asked.requests, asked.first, asked.second))
    shares = [f"{found / requests:.3f}" if requests else "" for found in (first, second)]
    return [str(requests), shares[0], shares[1] if result.looks_twice else ""]
