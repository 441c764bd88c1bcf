"""What the server does with photos: find, select, remove. Called in the worker's thread, one job at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from objremove.instances import Instance, count_objects
from objremove.masks import Dilation, png_of
from objremove.photo import format_name
from objremove.remover import Remover
from objremove.request import Request
from objremove.result import Result
from objremove.server.intake import Intake, OpenPhoto
from objremove.server.jobs import Job
from objremove.server.pictures import outline
from objremove.server.problems import Problem
from objremove.server.settings import Settings
from objremove.server.shelves import Choice, JobShelf, Models, Searches
from objremove.server.store import Store, StoredPhoto, extension_of
from objremove.targets import picked, without_numbers

Numbered = tuple[int, Instance]


@dataclass(frozen=True)
class Search:
    """What a client wants found.

    Attributes:
        remove: classes; none: all.
        known: ids of instances: only what a second look finds of the classes beside them.
        confidence: as of `Remover`.
    """

    remove: Sequence[str] = ()
    known: Sequence[str] = ()
    confidence: float | None = None


@dataclass(frozen=True, eq=False)
class Removal:
    """What a client wants gone; names and values as those of `Remover` and of the command line.

    Attributes:
        photo: from which photo.
        instances: ids of what was found or selected in it.
        masks, keep_masks: files; white removes, white stays.
        format, quality: of the result's file.
    """

    photo: StoredPhoto
    choice: Choice
    remove: Sequence[str] = ()
    keep: Sequence[str] = ()
    instances: Sequence[str] = ()
    points: Sequence[str] = ()
    boxes: Sequence[str] = ()
    masks: Sequence[bytes] = ()
    keep_masks: Sequence[bytes] = ()
    dilate: str = "auto"
    feather: int | None = None
    confidence: float | None = None
    format: str | None = None
    quality: int | None = None

    @property
    def files(self) -> list[bytes]:
        """All files that it needs: the photo's and the masks'."""
        return [self.photo.data, *self.masks, *self.keep_masks]

    def check(self) -> None:
        """Raise what can be known to be wrong before any work."""
        self.choice.check()
        self.photo.instances(self.instances)
        format_name(self.format)
        longer = max(self.photo.size)
        if (Dilation.parse(self.dilate).pixels or 0) > longer:
            raise Problem(422, "invalid", f"dilate: the photo's longer side has {longer} pixels: take no more")
        if not (self.remove or self.instances or self.points or self.boxes or self.masks):
            raise Problem(
                422, "invalid", "nothing to remove was named: give remove, instances, points, boxes or a mask"
            )


class Engine:
    """The models and photos of a server, and what is done with them."""

    def __init__(self, settings: Settings, store: Store, intake: Intake) -> None:
        self._settings, self._store, self._intake = settings, store, intake
        self._models = Models(settings)

    def warm_up(self) -> None:
        """Load what the server was started with, so that the first client needn't wait for it."""
        remover = Remover(shelf=JobShelf(self._models, Choice(), Searches(), _silent))
        remover.prepare("all", points=["0,0"])

    def find(self, job: Job, stored: StoredPhoto, search: Search, choice: Choice) -> Any:
        """What is in a photo, as JSON."""
        opened = self._read(job, stored)
        remover = self._remover(job, opened, choice, confidence=search.confidence)
        shelf = remover.shelf
        assert isinstance(shelf, JobShelf)
        classes = list(search.remove) or ["all"]
        known = stored.instances(search.known) if search.known else ()
        if known:
            seen = remover.find_more(opened.photo, without_numbers(classes), known)
            found = numbered([*known, *seen])[len(known) :]
        else:
            found = picked(numbered(remover.find(opened.photo, without_numbers(classes))), classes)
        ids = stored.remember(found, beside=search.known)
        return {
            **_frame(stored),
            "models": shelf.used,
            "instances": [described(one, key, number) for (number, one), key in zip(found, ids, strict=True)],
            "classes": count_objects([*known, *(one for _, one in found)]) - count_objects(known),
        }

    def select(self, job: Job, stored: StoredPhoto, points: Sequence[Any], boxes: Sequence[Any], choice: Choice) -> Any:
        """What a client points at, as JSON: one instance."""
        opened = self._read(job, stored)
        remover = self._remover(job, opened, choice)
        chosen = remover.shelf.prompter().select(opened.photo.pixels, points=points, boxes=boxes)
        if not chosen:
            raise Problem(422, "nothing_found", "nothing stands out there: draw a box around it, or a mask")
        (key,) = stored.remember([(1, chosen[0])])
        return {**_frame(stored), **described(chosen[0], key, 1)}

    def remove(self, job: Job, removal: Removal) -> Any:
        """The photo without what was named, kept as a photo of its own; what became of it, as JSON."""
        opened = self._read(job, removal.photo)
        remover = self._remover(
            job, opened, removal.choice, confidence=removal.confidence, dilate=removal.dilate, feather=removal.feather
        )
        work = remover.start(opened.photo, self._request(removal))
        job.enter("fill")
        result = remover.complete(work, job.progress)
        job.enter("encode")
        return self._kept(result, removal)

    # ------------------------------------------------------------------ its parts

    def _read(self, job: Job, stored: StoredPhoto) -> OpenPhoto:
        job.enter("read")
        return self._intake.opened(stored)

    def _remover(self, job: Job, opened: OpenPhoto, choice: Choice, **options: Any) -> Remover:
        shelf = JobShelf(self._models, choice, opened.found, job.enter)
        return Remover(shelf=shelf, threads=self._settings.threads, **options)

    def _request(self, removal: Removal) -> Request:
        photo = removal.photo
        return Request(
            remove=list(removal.remove),
            keep=list(removal.keep),
            points=list(removal.points),
            boxes=list(removal.boxes),
            masks=[self._intake.mask(data, photo.size) for data in removal.masks],
            instances=photo.instances(removal.instances) if removal.instances else None,
            # As `--remove person#2` does: what goes doesn't grow into the others of its class.
            spare=photo.others(removal.instances),
            keep_masks=[self._intake.mask(data, photo.size) for data in removal.keep_masks],
        )

    def _kept(self, result: Result, removal: Removal) -> dict[str, Any]:
        source = removal.photo
        warnings, kept = result.warnings, source
        if result.changed:
            encoded = result.encoded(format=removal.format, quality=removal.quality)
            extension = source.extension if encoded.format == source.format else extension_of(encoded.format)
            kept = StoredPhoto(encoded.data, encoded.format, source.size, source.stem, extension, removed=True)
            kept.mask = png_of(result.mask, bits=1)
            self._store.add(kept)
            warnings = (*warnings, *encoded.warnings)
        return {
            **_frame(kept),
            "changed": result.changed,
            "name": kept.name,
            "bytes": len(kept.data),
            "format": kept.format,
            "instances": [described(one) for one in result.instances],
            "kept": [described(one) for one in result.kept],
            "mask_area": int(np.count_nonzero(result.mask)),
            "timings": {stage: round(seconds, 4) for stage, seconds in result.timings.items()},
            "windows": result.windows,
            "models": result.models,
            "notes": list(result.notes),
            "warnings": list(warnings),
        }


def _silent(_: str) -> None:
    """Nobody listens."""


def _frame(stored: StoredPhoto) -> dict[str, Any]:
    return {"photo_id": stored.photo_id, "width": stored.size[1], "height": stored.size[0]}


def numbered(instances: Iterable[Instance]) -> list[Numbered]:
    """Each instance with its number within its class, in the order in which `Remover.find` gives them."""
    counts: dict[str, int] = {}
    result = []
    for one in instances:
        counts[one.label] = counts.get(one.label, 0) + 1
        result.append((counts[one.label], one))
    return result


def described(one: Instance, key: str | None = None, number: int | None = None) -> dict[str, Any]:
    """An instance as JSON, with its outline; `key` and `number` where it can be named again."""
    named = {} if key is None else {"id": key, "number": number}
    data = one.to_dict(rle=False)
    return {**named, **data, "outline": outline(one)}
