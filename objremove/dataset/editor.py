"""What becomes of one photo of a dataset and its labels: passed on, edited or left out, and written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from objremove.dataset.check import Check, look_again
from objremove.dataset.indices import WITH, WITHOUT, hole_of
from objremove.dataset.ledger import Ledger, plain_edit
from objremove.dataset.plan import Dataset, Settings, Task
from objremove.dataset.retouch import as_labelled, covered, unfilled
from objremove.dataset.sample import Edit, Key, Sample
from objremove.dataset.surgery import operate
from objremove.errors import PhotoError
from objremove.masks import png_of
from objremove.photo import link_atomic, write_atomic
from objremove.pipeline import Job
from objremove.remover import Remover
from objremove.result import Result
from objremove.runs.checksums import fingerprint, is_same, sums
from objremove.runs.layout import Item
from objremove.runs.manifest import REMOVED, SKIPPED, UNMATCHED, Manifest
from objremove.types import Mask


@dataclass(frozen=True, eq=False)
class Turn:
    """A photo of the result whose turn has come."""

    dataset: Dataset
    sample: Sample
    task: Task
    item: Item
    checksum: str | None  # of its label files


class Editor:
    """Makes photos of a result, each with its labels, its line and its files. Safe from many threads.

    Args:
        remover: its segmenter looks again, where that was asked for.
        settings: how.
        manifest: the report.
        words: the segmenters' name of each of the dataset's classes, as far as they are needed.

    Attributes:
        ledger: which files each photo has.
    """

    def __init__(self, remover: Remover, settings: Settings, manifest: Manifest, words: Mapping[str, str]) -> None:
        self._remover, self._settings, self._manifest, self._words = remover, settings, manifest, words
        self._out = manifest.output
        self._results = self._out / WITHOUT if settings.mode == "counterfactual" else self._out
        self.ledger = Ledger(manifest)

    def item(self, dataset: Dataset, name: str, source: Path | None = None) -> Item:
        """A photo of the result; where nobody knows its `source`, the result's own place stands for it."""
        target = self._results / dataset.photo_target(name)
        return Item(source or target, target.relative_to(self._out).as_posix(), target)

    # ------------------------------------------------------------------ what is known

    def is_settled(self, turn: Turn) -> bool:
        """Whether nothing is to be done for a photo: as `Manifest.is_settled`, and its label files are what they were."""
        is_known = self.ledger.is_labelled_as_before(turn.item.name, turn.checksum)
        return self.was_left_out(turn) or (is_known and self._manifest.is_settled(turn.item, retry_failed=True))

    def was_left_out(self, turn: Turn) -> bool:
        """Whether a run with the same options has left the photo out as it is, with the label files that it has."""
        record = self._manifest.get(turn.item.name)
        if record is None or record.status != SKIPPED or record.run != self._manifest.run or record.source is None:
            return False
        is_labelled = self.ledger.is_labelled_as_before(turn.item.name, turn.checksum)
        return is_labelled and is_same(turn.item.source, record.source)

    # ------------------------------------------------------------------ what becomes of a photo

    def pass_on(self, turn: Turn, *, left: Sequence[Key] = ()) -> dict[str, Any]:
        """A photo that is not edited, with the labels that it has; of those, `left` were to go."""
        edit = Edit(turn.sample.name, turn.task.name)
        source = fingerprint(turn.item.source)
        if source is None:
            raise PhotoError(f"{turn.item.source}: is not there")
        files = [*turn.dataset.write_photo_labels(edit, self._results), turn.item.target]
        output = {"path": turn.item.name, "size": source["size"], "sha256": source["sha256"]}
        fields = {
            "source": {"path": str(turn.item.source), **source},
            "output": output,
            "labels": plain_edit(edit),
            "left": list(left),
        }
        line = self.say(turn.item.name, UNMATCHED, fields, files, turn.checksum)
        _place(turn.item.source, turn.item.target, link=self._settings.untouched != "copy")
        return line

    def leave_out(self, turn: Turn, reason: str) -> dict[str, Any]:
        """A photo that is no part of the result; what was made of it goes."""
        source = {"path": str(turn.item.source), **(fingerprint(turn.item.source) or {})}
        fields = {"reason": reason, "source": source if len(source) > 1 else None, "output": None}
        return self.say(turn.item.name, SKIPPED, fields, checksum=turn.checksum)

    def finish(self, job: Job, result: Result) -> dict[str, Any]:
        """In a worker: look again, cut the labels, write them, the line and the photo."""
        turn: Turn = job.key
        sample, settings = turn.sample, self._settings
        named = [one for one in sample.annotations if one.label in settings.labels]
        if not result.changed:
            if settings.untouched != "omit" and (settings.masks == "segmenter" or not named):
                return self.pass_on(turn, left=[one.key for one in named])
            return self.leave_out(turn, "nothing of the classes was found in it")
        if reason := self._too_large(result.mask):
            return self.leave_out(turn, reason)
        gone = turn.task.gone | (covered(named, result.mask) if settings.masks != "annotations" else frozenset())
        if still := unfilled(sample.annotations, gone, result.mask):
            return self.leave_out(
                turn, f"nothing could be filled of annotation {still[0]}, whose outline and box show no object"
            )
        result, check = self._checked(sample, gone, result)
        drawn = as_labelled(result.instances, sample.annotations, gone, result.photo.size)
        result = replace(result, instances=drawn)
        if reason := self._too_large(result.mask):  # the hole has grown
            return self.leave_out(turn, reason)
        surgery = operate(sample.annotations, result.mask, gone, min_visible=settings.min_visible)
        edit = Edit(sample.name, turn.task.name, gone | surgery.dropped, surgery.changed)
        left = [one.key for one in named if one.key not in edit.removed]
        if settings.mode == "negatives" and (left or (check is not None and not check.passed)):
            return self.leave_out(turn, "some of the class is left in it")
        data, warnings = result.encode()
        fields = {
            "source": {"path": str(sample.path), **(fingerprint(sample.path) or {})},
            "output": {"path": turn.item.name, **sums(data)},
            **result.to_dict(),
            "warnings": [*result.warnings, *warnings],
            "seed": settings.seed,
            "labels": plain_edit(edit),
            "neighbours": [one.to_dict() for one in surgery.neighbours],
            "left": [] if settings.per_instance else left,
            "check": None if check is None else check.to_dict(),
        }
        files = [*self._write_labels(turn, edit, result.mask), turn.item.target]
        line = self.say(turn.item.name, REMOVED, fields, files, turn.checksum)
        turn.item.target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(turn.item.target, data)
        return line

    def _too_large(self, hole: Mask) -> str | None:
        share, most = float(hole.mean()), self._settings.max_hole
        return f"{share:.1%} of it would be filled, and --max-hole is {most:.1%}" if share > most else None

    def _checked(self, sample: Sample, gone: frozenset[Key], result: Result) -> tuple[Result, Check | None]:
        """The result after the segmenter has looked at it, where it was asked to."""
        if not self._settings.check:
            return result, None
        staying = (one.instance(result.photo.size) for one in sample.annotations if one.key not in gone)
        went = {self._words[one.label] for one in sample.annotations if one.key in gone and one.label in self._words}
        words = sorted(went or set(self._words.values()))
        rounds = self._settings.check
        return look_again(self._remover, result, [one for one in staying if one], words, rounds=rounds)

    def _write_labels(self, turn: Turn, edit: Edit, hole: Mask) -> list[Path]:
        """Write all of a result but its photo, and answer the files."""
        files = turn.dataset.write_photo_labels(edit, self._results, hole)
        if self._settings.mode == "counterfactual":
            path = self._out / hole_of(turn.dataset, edit)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, png_of(hole, bits=1))
            original = self._out / WITH / turn.dataset.photo_target(edit.source)
            with self.ledger.lock:  # it may be another variant's, too, that is left out just now
                shared = turn.dataset.write_photo_labels(Edit(edit.source, edit.source), self._out / WITH)
                _place(turn.sample.path, original, link=True)
                self.ledger.claim(turn.item.name, [*shared, original])
            files = [*files, path, *shared, original]
        return files

    # ------------------------------------------------------------------ the report

    def say(
        self,
        name: str,
        status: str,
        fields: Mapping[str, Any],
        files: Iterable[Path] = (),
        checksum: str | None = None,
    ) -> dict[str, Any]:
        """Write a photo's line; files of an earlier one that it has no longer are deleted first."""
        return self._manifest.append(name, status, {**fields, **self.ledger.settle(name, files, checksum)})


def _place(source: Path, target: Path, *, link: bool) -> None:
    """The photo under another name: a hard link where the disk can, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        with suppress(OSError):  # another disk, or one without links
            link_atomic(source, target)
            return
    write_atomic(target, source.read_bytes())
