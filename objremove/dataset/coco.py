"""COCO instances: one JSON file for a whole split, photos in one folder beside it.

The file is kept as text. A photo that goes takes its record and its annotations with it, an annotation that changes gets new values
in place, and every other character stays. Nothing of the file is parsed for longer than it is needed: annotations
are found again by their place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final, cast

from objremove.dataset.sample import Annotation, Box, Change, Edit, Key, Sample, Segmentation
from objremove.dataset.text import Item, Verbatim, edit_record, read_array, read_object, rebuild_array, splice
from objremove.errors import DatasetError
from objremove.photo import write_atomic

_ARRAYS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "images": lambda record: record,
    "categories": lambda record: record,
    # Only ids and places are kept of the annotations: a million of them parsed would take gigabytes.
    "annotations": lambda record: (record["id"], record["image_id"]),
}


class CocoDataset:
    """One COCO annotation file and its folder of photos.

    Args:
        path: the JSON file.
        images: the folder that its `file_name`s start from.

    Attributes:
        classes: the category names, in the order of the file.

    Raises:
        DatasetError: the file cannot be read, or is no COCO instances file.
    """

    def __init__(self, path: Path, images: Path) -> None:
        self.path, self.images = path, images
        if not images.is_dir():
            raise DatasetError(f"{images}: no folder of photos is there; give it as --images")
        try:
            self._text = path.read_bytes().decode()
            members = read_object(self._text, split=_ARRAYS)
            self._index(members)
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DatasetError(f"{path}: is no COCO instances file ({type(error).__name__}: {error})") from None

    def _index(self, members: Mapping[str, Item]) -> None:
        """Note where each record stands, and which photo each annotation is of."""
        for name in _ARRAYS:
            if not isinstance(members.get(name, Item(None, 0, 0)).value, list):
                raise ValueError(f"it has no array {name!r}")
        self._names: dict[Key, str] = {one.value["id"]: one.value["name"] for one in members["categories"].value}
        self.classes = tuple(dict.fromkeys(self._names.values()))
        self._photos: list[Item] = members["images"].value
        self._by_name = {str(one.value["file_name"]): one for one in self._photos}
        if len(self._by_name) < len(self._photos):
            raise ValueError("two photos have the same file_name")
        if len({one.value["id"] for one in self._photos}) < len(self._photos):
            raise ValueError("two photos have the same id")
        for name in self._by_name:
            if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or ".." in re.split(r"[/\\]", name):
                raise ValueError(f"file_name {name!r} leads out of the folder of photos")
        self._places: list[Item] = members["annotations"].value
        if len({place.value[0] for place in self._places}) < len(self._places):
            raise ValueError("two annotations have the same id")
        self._of_photo: dict[Key, list[Item]] = {}
        for place in self._places:
            self._of_photo.setdefault(place.value[1], []).append(place)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of every sample, in the order of the dataset."""
        return tuple(self._by_name)

    def __len__(self) -> int:
        return len(self._photos)

    def __iter__(self) -> Iterator[Sample]:
        for photo in self._photos:
            yield self._sample(photo)

    def load(self, name: str) -> Sample:
        """The sample of that name; KeyError where there is none."""
        return self._sample(self._by_name[name])

    def _sample(self, photo: Item) -> Sample:
        record = photo.value
        name = str(record["file_name"])
        try:
            size = (int(record["height"]), int(record["width"])) if "height" in record and "width" in record else None
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{self.path}: the size of {name} cannot be read ({error})") from None
        places = self._of_photo.get(record["id"], ())
        return Sample(name, self.images / name, size, tuple(self._annotation(place) for place in places), record)

    def _annotation(self, place: Item) -> Annotation:
        """The annotation that stands there; raises DatasetError where it is none."""
        record = json.loads(self._text[place.start : place.end])
        try:
            category = record["category_id"]
            if category not in self._names:
                raise ValueError(f"category {category} is not listed")
            return Annotation(
                key=record["id"],
                label=self._names[category],
                box=_corners(record.get("bbox")),
                segmentation=_outline(record.get("segmentation")),
                crowd=bool(record.get("iscrowd", 0)),
                keypoints=_keypoints(record.get("keypoints")),
                record=record,
            )
        except KeyError as error:
            reason = f"it has no {error}"
        except (TypeError, ValueError) as error:
            reason = str(error)
        raise DatasetError(f"{self.path}: annotation {place.value[0]} cannot be read: {reason}")

    # ------------------------------------------------------------------ the way back

    def photo_target(self, name: str) -> Path:
        """Where the photo of that name goes, below the folder of the result."""
        return Path(self.images.resolve().name, name)

    def write_photo_labels(self, edit: Edit, out: Path, hole: Any = None) -> list[Path]:
        """Nothing: COCO has one file for all photos, see `finish`."""
        return []

    def finish(self, edits: Iterable[Edit], out: Path) -> list[Path]:
        """Write the annotation file of the photos that result, and return its path.

        Photos that keep their name keep their ids; further ones made of a photo get the next free ids, and `source_id`,
        the id of what they were made from.
        """
        target = out / "annotations" / self.path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, self.edited(edits).encode())
        return [target]

    def edited(self, edits: Iterable[Edit]) -> str:
        """The text of the annotation file for the photos that `edits` lists; those that they don't list are left out."""
        by_source: dict[str, list[Edit]] = {}
        for edit in edits:
            by_source.setdefault(edit.source, []).append(edit)
        photo_ids, annotation_ids = (
            _Ids(one.value["id"] for one in self._photos),
            _Ids(one.value[0] for one in self._places),
        )
        photos: list[list[str]] = []
        annotations: dict[Key, list[str]] = {}
        for photo in self._photos:
            texts = []
            for edit in by_source.get(str(photo.value["file_name"]), ()):
                source = photo.value["id"]
                own = photo_ids.next(source) if edit.name != edit.source else source
                text = self._text[photo.start : photo.end]
                renamed = {"id": own, "file_name": edit.name, "source_id": source}
                texts.append(text if own == source else edit_record(text, renamed))
                for place in self._of_photo.get(source, ()):
                    if place.value[0] not in edit.removed:
                        new = self._edited_annotation(place, edit, own, annotation_ids)
                        annotations.setdefault(place.value[0], []).append(new)
            photos.append(texts)
        changes = [rebuild_array(self._text, self._photos, photos)] if self._photos else []
        if self._places:
            texts_of = [annotations.get(place.value[0], []) for place in self._places]
            changes.append(rebuild_array(self._text, self._places, texts_of))
        return splice(self._text, changes)

    def _edited_annotation(self, place: Item, edit: Edit, photo_id: Key, ids: _Ids) -> str:
        text, (key, source) = self._text[place.start : place.end], place.value
        changes: dict[str, Any] = {}
        if key in edit.changed:
            changes |= _changed_members(text, edit.changed[key])
        if photo_id != source:
            changes |= {"id": ids.next(key), "image_id": photo_id, "source_id": key}
        return edit_record(text, changes) if changes else text


class _Ids:
    """Ids for new records: numbers above all that the file has; where ids are words, the word with a number behind it."""

    def __init__(self, taken: Iterable[Key]) -> None:
        self._taken = set(taken)
        self._last = max((key for key in self._taken if isinstance(key, int)), default=0)

    def next(self, source: Key) -> Key:
        while True:
            self._last += 1
            key: Key = self._last if isinstance(source, int) else f"{source}-{self._last}"
            if key not in self._taken:
                self._taken.add(key)
                return key


def _corners(bbox: Any) -> Box | None:
    """COCO's (x, y, width, height) as (x0, y0, x1, y1)."""
    if not bbox or len(bbox) != 4:
        return None
    x, y, width, height = (float(value) for value in bbox)
    return x, y, x + width, y + height


def _outline(segmentation: Any) -> Segmentation | None:
    """COCO's `segmentation`; None where it is empty. What it encloses is seen when it is drawn."""
    if not segmentation:
        return None
    if not isinstance(segmentation, dict) and not all(isinstance(polygon, list) for polygon in segmentation):
        raise ValueError("its segmentation is neither polygons nor an RLE")
    return cast(Segmentation, segmentation)


def _keypoints(flat: Any) -> tuple[tuple[float, float] | None, ...]:
    """COCO's [x, y, v, ...], where v is 0 for a keypoint that is not labelled."""
    numbers = [float(number) for number in flat or ()]
    if len(numbers) % 3:
        raise ValueError(f"{len(numbers)} numbers are no keypoints: each has three")
    return tuple((x, y) if v > 0 else None for x, y, v in zip(*(numbers[start::3] for start in range(3)), strict=True))


def _changed_members(text: str, change: Change) -> dict[str, Any]:
    """The members of an annotation that a change gives new values; numbers of the box that stay keep their text."""
    members = read_object(text)
    new: dict[str, Any] = {}
    if change.segmentation is not None and "segmentation" in members:
        was = members["segmentation"].value
        uncompressed = isinstance(was, dict) and isinstance(was.get("counts"), list)
        new["segmentation"] = _uncompressed(change.segmentation) if uncompressed else change.segmentation
    if change.area is not None and "area" in members:
        new["area"] = change.area
    if change.lost_keypoints and "keypoints" in members:
        keypoints, left = _without_keypoints(text, members["keypoints"], change.lost_keypoints)
        new |= {"keypoints": keypoints} | ({"num_keypoints": left} if "num_keypoints" in members else {})
    old = _corners(members["bbox"].value) if "bbox" in members else None
    if old is not None and change.box not in (None, old):
        (x0, y0, x1, y1), numbers = change.box, list(read_array(text, members["bbox"].start))
        moved = (x0 != old[0], y0 != old[1], x0 != old[0] or x1 != old[2], y0 != old[1] or y1 != old[3])
        values = (x0, y0, x1 - x0, y1 - y0)
        new["bbox"] = [
            value if is_new else Verbatim(text[number.start : number.end])
            for value, is_new, number in zip(values, moved, numbers, strict=True)
        ]
    return new


def _without_keypoints(text: str, flat: Item, lost: Collection[int]) -> tuple[list[Any], int]:
    """`keypoints` with some as COCO has those that are not labelled, 0, 0, 0; and how many labelled ones are left."""
    numbers = list(read_array(text, flat.start))
    left = sum(flat.value[3 * place + 2] > 0 for place in range(len(numbers) // 3) if place not in lost)
    return [0 if place // 3 in lost else Verbatim(text[one.start : one.end]) for place, one in enumerate(numbers)], left


def _uncompressed(segmentation: Any) -> Any:
    """An RLE with its counts as a list of numbers, for a file that writes them so."""
    if not isinstance(segmentation, dict) or isinstance(segmentation["counts"], list):
        return segmentation
    import numpy as np

    from objremove.dataset.sample import decode

    height, width = segmentation["size"]
    flat = decode(segmentation, (height, width)).ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat]).astype(np.int8))).tolist()
    runs = np.diff([0, *edges, flat.size]).tolist()
    return {"size": [height, width], "counts": runs}
