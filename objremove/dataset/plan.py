"""What shall become of each photo of a dataset: settled from its labels alone, before any photo is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol
from urllib.parse import quote

from objremove.dataset.sample import Annotation, Edit, Key, Sample
from objremove.dataset.surgery import MIN_VISIBLE
from objremove.errors import UsageError
from objremove.types import Mask

Mode = Literal["clean", "counterfactual", "negatives"]
Masks = Literal["annotations", "segmenter", "both"]
Untouched = Literal["link", "copy", "omit"]
Crowd = Literal["region", "skip"]


class Dataset(Protocol):
    """What `CocoDataset`, `VocDataset` and `YoloDataset` have in common."""

    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def names(self) -> tuple[str, ...]: ...  # noqa: D102

    def load(self, name: str) -> Sample:
        """The sample of that name."""
        ...

    def photo_target(self, name: str) -> Path:
        """Where the photo of that name goes, below the folder of a result."""
        ...

    def write_photo_labels(self, edit: Edit, out: Path, hole: Mask | None = None) -> list[Path]:
        """Write what one photo of a result has of label files, and return their paths."""
        ...

    def finish(self, edits: Iterable[Edit], out: Path) -> Sequence[Path]:
        """Write what a result has for all of its photos together."""
        ...


@dataclass(frozen=True)
class Settings:
    """How a dataset is edited.

    Attributes:
        labels: the dataset's classes that go.
        mode: `clean`: the dataset without them; `counterfactual`: pairs with and without; `negatives`: only
            photos that had them and have none of them left.
        masks: where masks come from.
        per_instance: a photo for each annotated object, from which only this one goes.
        fraction: share of the photos (of the objects, with `per_instance`) that are edited, drawn by `seed`.
        seed: see `fraction`.
        untouched: what becomes of photos that are not edited.
        crowd: annotations of many objects that nobody told apart: they go as one region, or their photo is left out.
        min_visible: a neighbour of which less than this share is left loses its label.
        max_hole: a photo of which a larger share than this would be filled is left out.
        check: how often a segmenter may look again, and what it still finds be filled anew; 0: it doesn't look.
        limit: so many photos of each dataset at most; None: all.
        jobs: photos that are worked on at a time; None: as `objremove.pipeline.run` chooses.
    """

    labels: tuple[str, ...]
    mode: Mode = "clean"
    masks: Masks = "annotations"
    per_instance: bool = False
    fraction: float = 1.0
    seed: int = 0
    untouched: Untouched = "link"
    crowd: Crowd = "region"
    min_visible: float = MIN_VISIBLE
    max_hole: float = 0.75
    check: int = 0
    limit: int | None = None
    jobs: int | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for settings that contradict each other."""
        if self.per_instance and self.masks != "annotations":
            raise UsageError(
                "--per-instance tells objects apart by their annotations: it takes --masks annotations only"
            )
        if self.per_instance and self.mode == "negatives":
            raise UsageError(
                "--mode negatives takes all objects of a class from a photo, --per-instance one: take one of them"
            )
        if self.mode != "clean" and self.untouched != "omit":
            raise UsageError(f"--mode {self.mode} is of edited photos only: --untouched is for --mode clean")


@dataclass(frozen=True, eq=False)
class Task:
    """A photo of the result.

    Attributes:
        name: its name in the dataset.
        gone: keys of the annotations that go.
        edited: False for a photo that is passed on as it is.
    """

    name: str
    gone: frozenset[Key] = frozenset()
    edited: bool = True


@dataclass(frozen=True)
class Skip:
    """A photo that is left out, and why."""

    reason: str


def tasks_of(sample: Sample, settings: Settings) -> Iterator[Task | Skip]:
    """What a sample becomes: itself, cleaned or not, or a photo for each object that goes, or nothing."""
    named = [one for one in sample.annotations if one.label in settings.labels]
    if settings.crowd == "skip" and any(one.crowd for one in named):
        yield Skip(f"holds a crowd of {next(one.label for one in named if one.crowd)}")
        return
    keeps = settings.untouched != "omit"
    if settings.per_instance:
        if keeps:
            yield Task(sample.name, edited=False)
        for one in named:
            if not one.crowd and is_drawn(settings, sample.name, one.key):
                yield Task(variant(sample.name, one), frozenset({one.key}))
    elif (named or settings.masks != "annotations") and is_drawn(settings, sample.name):
        known = named if settings.masks != "segmenter" else []
        yield Task(sample.name, frozenset(one.key for one in known))
    elif keeps:
        yield Task(sample.name, edited=False)


def is_drawn(settings: Settings, *what: Any) -> bool:
    """Whether the seed picks a photo or an object; it depends on nothing but their names."""
    text = "/".join(map(str, (settings.seed, *what)))
    return (
        int.from_bytes(hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=7).digest())
        < settings.fraction * 2**56
    )


def variant(name: str, one: Annotation) -> str:
    """`street.jpg` without the annotation 17: `street.17.jpg`."""
    path = PurePosixPath(name)
    return path.with_name(f"{path.stem}.{quote(str(one.key), safe=' ')}{path.suffix}").as_posix()
