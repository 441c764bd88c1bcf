"""Pascal VOC: an XML file of boxes for each photo, palette masks for some, lists of names for the splits.

    ROOT/JPEGImages/NAME.jpg  Annotations/NAME.xml  SegmentationClass/NAME.png  SegmentationObject/NAME.png  ImageSets/*/*.txt

Boxes count pixels from 1 and hold their last one. A mask's value is an object's number (SegmentationObject) or its class
(SegmentationClass); 0 is background and 255 nobody's. Files are edited in place, as text or index by index.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import numpy as np

from objremove.dataset.sample import Annotation, Box, Change, Edit, Key, Sample, encode
from objremove.dataset.text import Element, read_xml, splice
from objremove.dataset.voc_masks import CLASSES, edited_mask, match, read_indices, read_shapes, tight_box
from objremove.errors import DatasetError
from objremove.photo import write_atomic
from objremove.types import Mask

_FLAGS: Final = ("difficult", "truncated", "occluded")
_CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")
_OBJECT_LISTS: Final = ("Action", "Layout")
_WORDS: Final = re.compile(r"\s*\S+")
_PHOTO_SUFFIXES: Final = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, eq=False)
class VocRecord:
    """What a sample's files hold.

    Attributes:
        xml: the annotation file's bytes; None where there is none.
        objects: its `object` elements.
        numbers: mask value of each annotation that SegmentationObject shows, by key.
        masks: the mask files, by folder.
    """

    xml: bytes | None
    objects: Mapping[Key, Element]
    numbers: Mapping[Key, int]
    masks: Mapping[str, Path]


class VocDataset:
    """A VOC folder.

    Args:
        root: the folder that holds `JPEGImages`, or one above it that holds one such folder (`VOCdevkit/VOC2012`).

    Attributes:
        root: the folder that holds `JPEGImages`.
        below: its path below the folder given, kept in the result.
    """

    def __init__(self, root: Path) -> None:
        self.root = _find_root(root)
        self.below = self.root.relative_to(root)
        photos = (
            path for path in sorted((self.root / "JPEGImages").iterdir()) if path.suffix.lower() in _PHOTO_SUFFIXES
        )
        self._photos = {path.name: path for path in photos if path.is_file()}
        stems = [Path(name).stem for name in self._photos]
        if len(set(stems)) < len(stems):
            raise DatasetError(
                f"{self.root / 'JPEGImages'}: two photos have one name, so their labels would be the same file"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The name of every sample, in the order of the dataset."""
        return tuple(self._photos)

    def __len__(self) -> int:
        return len(self._photos)

    def __iter__(self) -> Iterator[Sample]:
        return (self.load(name) for name in self._photos)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of VOC's 20 classes, and of all others that the XML files use; reads them all, but for broken ones (see `load`)."""
        found: dict[str, None] = dict.fromkeys(CLASSES[1:])
        for path in sorted((self.root / "Annotations").glob("*.xml")):
            with suppress(DatasetError):
                found |= dict.fromkeys(one.read("name") for one in _objects(_read_xml(path)[1]))
        return tuple(found)

    def load(self, name: str) -> Sample:
        """The sample of that name; KeyError where there is none, DatasetError where its files cannot be read."""
        path = self._photos[name]
        xml_path = self.root / "Annotations" / f"{path.stem}.xml"
        xml, tree = _read_xml(xml_path) if xml_path.is_file() else (None, Element("annotation", 0))
        objects: dict[Key, Element] = dict(enumerate(_objects(tree), start=1))
        boxes = {key: _box(one, xml_path) for key, one in objects.items()}
        masks = {
            folder: file
            for folder in ("SegmentationClass", "SegmentationObject")
            if (file := self.root / folder / f"{path.stem}.png").is_file()
        }
        names = {key: one.read("name") for key, one in objects.items()}
        shapes = read_shapes(masks) if len(masks) == 2 else {}
        numbers = match(shapes, names, boxes)
        annotations = [
            Annotation(
                key=key,
                label=names[key],
                box=boxes[key],
                segmentation=encode(shapes[numbers[key]][1]) if key in numbers else None,
                flags=tuple(flag for flag in _FLAGS if one.read(flag) == "1"),
                record=one,
            )
            for key, one in objects.items()
        ]
        for number in sorted(set(shapes) - set(numbers.values())):
            label, mask = shapes[number]
            key = f"mask-{number}"
            numbers[key] = number
            annotations.append(Annotation(key, label, tight_box(mask), encode(mask)))
        files = (*((xml_path,) if xml is not None else ()), *masks.values())
        return Sample(name, path, _size(tree), tuple(annotations), VocRecord(xml, objects, numbers, masks), files)

    # ------------------------------------------------------------------ the way back

    def photo_target(self, name: str) -> Path:
        """Where the photo of that name goes, below the folder of the result."""
        return self.below / "JPEGImages" / name

    def write_photo_labels(self, edit: Edit, out: Path, hole: Mask | None = None) -> list[Path]:
        """Write the label files of one photo that results, and return their paths.

        Args:
            edit: what became of its labels.
            out: folder of the result.
            hole: (H, W) bool, what was filled: background in the masks; None where nothing was.
        """
        sample = self.load(edit.source)
        record: VocRecord = sample.record
        stem = Path(edit.name).stem
        written = {}
        if record.xml is not None:
            written[out / self.below / "Annotations" / f"{stem}.xml"] = _edited_xml(record, sample, edit)
        gone = [record.numbers[key] for key in edit.removed if key in record.numbers]
        for folder, path in record.masks.items():
            data = path.read_bytes()
            if hole is not None:
                objects = read_indices(record.masks.get("SegmentationObject", path))
                data = edited_mask(
                    data, hole, np.isin(objects, gone) if len(record.masks) == 2 else np.zeros_like(hole)
                )
            written[out / self.below / folder / f"{stem}.png"] = data
        for target, new in written.items():
            _write(target, new)
        return list(written)

    def finish(self, edits: Iterable[Edit], out: Path) -> list[Path]:
        """Write the lists of `ImageSets` for the photos that result, and return their paths.

        A line stays for a photo that stays; photos made of another stand where it stood. In the lists of one class (`car_train.txt`) the
        flag says anew whether the photo shows it: 1, -1, or 0 where all of them are difficult. Lists of objects (`Action`, `Layout`) name
        them by their place in the XML file: the line of one that went goes, the others get their new numbers.
        """
        by_source: dict[str, list[Edit]] = {}
        for edit in edits:
            by_source.setdefault(Path(edit.source).stem, []).append(edit)
        shown = {edit.name: self._shown(edit) for same in by_source.values() for edit in same if edit.removed}
        written = []
        for path in sorted((self.root / "ImageSets").rglob("*.txt")):
            label = path.stem.rsplit("_", 1)[0]
            is_class_list = path.parent.name == "Main" and label in self.classes
            lines = path.read_bytes().decode().splitlines(keepends=True)
            if path.parent.name in _OBJECT_LISTS:
                new = [one for line in lines for one in _object_lines(line, by_source)]
            else:
                new = [
                    one for line in lines for one in _lines(line, by_source, shown, label if is_class_list else None)
                ]
            target = out / self.below / path.relative_to(self.root)
            _write(target, "".join(new).encode())
            written.append(target)
        return written

    def _shown(self, edit: Edit) -> dict[str, int]:
        """The flag of each class that is left in a photo: 1, or 0 where all of it is difficult."""
        flags: dict[str, int] = {}
        for one in self.load(edit.source).annotations:
            if one.key not in edit.removed:
                flags[one.label] = max(flags.get(one.label, 0), int("difficult" not in one.flags))
        return flags


def _lines(
    line: str, by_source: Mapping[str, list[Edit]], shown: Mapping[str, Mapping[str, int]], label: str | None
) -> list[str]:
    """The lines that take the place of a line of a list; in the list of a class, `label`, with the flag made anew."""
    words = line.split()
    edits = by_source.get(words[0], []) if words else []
    result = []
    for edit in edits:
        new = line.replace(words[0], Path(edit.name).stem, 1)
        if label is not None and edit.name in shown and len(words) == 2:
            rest = new.rstrip()
            flag = shown[edit.name].get(label, -1)
            new = rest[: -len(words[1])].rstrip() + f"{flag:>3}" + new[len(rest) :]
        result.append(new if new.endswith("\n") or edit is edits[-1] else new + "\n")
    return result


def _object_lines(line: str, by_source: Mapping[str, list[Edit]]) -> list[str]:
    """The lines that take the place of one that names an object by its number, as in `2010_006215  2  1`."""
    words = _WORDS.findall(line)
    number = int(words[1]) if len(words) > 1 and words[1].strip().isdigit() else 0
    result = []
    for edit in by_source.get(words[0].strip(), []) if words else []:
        if number not in edit.removed:
            before = sum(isinstance(key, int) and key < number for key in edit.removed)
            new = [words[0].replace(words[0].strip(), Path(edit.name).stem), *words[1:]]
            if number:
                new[1] = words[1].replace(words[1].strip(), str(number - before))
            result.append("".join(new) + line[len("".join(words)) :])
    return [one if one.endswith("\n") else f"{one}\n" for one in result[:-1]] + result[-1:]


# ---------------------------------------------------------------------- reading


def _find_root(root: Path) -> Path:
    candidates = [root, *sorted(root.glob("VOC*")), *sorted(root.glob("VOCdevkit/VOC*"))]
    found = [path for path in candidates if (path / "JPEGImages").is_dir()]
    if not found:
        raise DatasetError(f"{root}: is no VOC folder, for it has no JPEGImages")
    if len(found) > 1:
        raise DatasetError(
            f"{root}: holds {len(found)} VOC folders, {found[0].name} and {found[1].name}: name one of them"
        )
    return found[0]


def _read_xml(path: Path) -> tuple[bytes, Element]:
    try:
        data = path.read_bytes()
        return data, read_xml(data)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise DatasetError(f"{path}: is no XML ({error})") from None


def _objects(tree: Element) -> list[Element]:
    return [one for one in tree.children if one.tag == "object"]


def _size(tree: Element) -> tuple[int, int] | None:
    size = tree.child("size")
    if size is None or not (size.read("height").isdigit() and size.read("width").isdigit()):
        return None
    height, width = int(size.read("height")), int(size.read("width"))
    return (height, width) if height and width else None  # some tools write zeros


def _box(element: Element, path: Path) -> Box:
    corners = element.child("bndbox")
    try:
        x0, y0, x1, y1 = (float(corners.read(name)) for name in _CORNERS)  # type: ignore[union-attr]
    except (AttributeError, ValueError):
        raise DatasetError(f"{path}: an object has no bndbox of four numbers") from None
    return x0 - 1, y0 - 1, x1, y1


# ---------------------------------------------------------------------- writing


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)


def _edited_xml(record: VocRecord, sample: Sample, edit: Edit) -> bytes:
    data, boxes = record.xml or b"", {one.key: one.box for one in sample.annotations}
    edits = []
    for key, element in record.objects.items():
        if key in edit.removed:
            before = data[: element.start]
            edits.append((len(before.rstrip()), element.end, b""))
        elif key in edit.changed:
            edits += _moved_corners(data, element, boxes[key], edit.changed[key])
    if edit.name != edit.source:
        name = read_xml(data).child("filename")
        edits += [(*name.inside(data), escape(edit.name).encode())] if name else []
    return splice(data, edits)


def _moved_corners(data: bytes, element: Element, old: Box | None, change: Change) -> list[tuple[int, int, bytes]]:
    corners = element.child("bndbox")
    if corners is None or old is None or change.box is None:
        return []
    edits = []
    for place, name in enumerate(_CORNERS):
        child = corners.child(name)
        if child is not None and change.box[place] != old[place]:
            value = change.box[place] + (1 if place < 2 else 0)
            edits.append((*child.inside(data), str(round(value)).encode()))
    return edits
