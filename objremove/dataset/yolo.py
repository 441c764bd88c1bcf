"""YOLO: a text file of boxes or polygons for each photo, and a `data.yaml` (or `classes.txt`) with names and splits.

    class cx cy width height            a box, in shares of the photo's sides
    class x1 y1 x2 y2 x3 y3 ...         one polygon: it has no gaps, and parts are joined by a line
    class cx cy width height x y v ...  a box and keypoints, where `data.yaml` has `kpt_shape: [17, 3]`

`images` in a photo's path becomes `labels` in its labels' path. Lines that don't change are passed on as they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from objremove.dataset.sample import Annotation, Change, Edit, Sample, decode, trace
from objremove.errors import DatasetError, UsageError
from objremove.photo import write_atomic

_SPLITS: Final = ("train", "val", "test")
_PHOTO_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".avif", ".heic", ".heif")


class YoloDataset:
    """A YOLO dataset.

    Args:
        path: `data.yaml`; or `classes.txt`, a name a line, beside the folders `images` and `labels`; or the folder with one of them.

    Attributes:
        classes: the class names by index.
        root: the folder that the splits start from.
    """

    def __init__(self, path: Path) -> None:
        file = find_file(path)
        if file is None:
            raise DatasetError(f"{path}: neither data.yaml nor classes.txt is there")
        self.path = file
        self.root = self.path.parent
        try:
            self._text = self.path.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{self.path}: cannot be read ({error})") from None
        self._keypoints = (0, 0)
        self._by_name: dict[str, Path] = {}
        self._lists: list[Path] = []
        self._moved: dict[str, str] = {}
        if self.path.suffix == ".txt":
            self.classes = tuple(line.strip() for line in self._text.splitlines() if line.strip())
            self._add(self.root / "images", "images")
        else:
            self._read_yaml()

    def _read_yaml(self) -> None:
        try:
            import yaml
        except ImportError:
            raise UsageError("a YOLO data.yaml needs PyYAML: pip install 'objremove[dataset]'") from None
        try:
            data = yaml.safe_load(self._text)
            names = data["names"]
            self.classes = (
                tuple(str(names[index]) for index in sorted(names))
                if isinstance(names, dict)
                else tuple(map(str, names))
            )
            if isinstance(names, dict) and sorted(names) != list(range(len(names))):
                raise ValueError("names are not numbered from 0 on")
            self.root = self._resolve(Path(str(data.get("path") or ".")), self.path.parent)
            count, numbers = data.get("kpt_shape") or (0, 0)
            self._keypoints = int(count), int(numbers)
        except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(
                f"{self.path}: is no YOLO data file ({type(error).__name__}: {' '.join(str(error).split())})"
            ) from None
        for split in _SPLITS:
            for place in _listed_places(data.get(split)):
                found = self._resolve(Path(place), self.root)
                self._add(found, f"{self.path}: {split}")
                if Path(place).is_absolute() or ".." in Path(place).parts:
                    self._moved[place] = self._name(found)

    @staticmethod
    def _resolve(place: Path, base: Path) -> Path:
        """`place` below `base`; exported archives say `../train/images` where they mean `train/images`."""
        found = base / place
        if not found.exists() and place.parts[:1] == ("..",):
            found = base.joinpath(*place.parts[1:])
        return Path(found.absolute())

    def _add(self, place: Path, what: str) -> None:
        """Add the photos of a folder, or of a text file that lists them."""
        if place.is_dir():
            photos = sorted(
                path for path in place.rglob("*") if path.suffix.lower() in _PHOTO_SUFFIXES and path.is_file()
            )
        elif place.suffix == ".txt" and place.is_file():
            self._lists.append(place)
            photos = [_listed(line, place) for line in place.read_text().splitlines() if line.strip()]
        else:
            raise DatasetError(f"{what}: neither a folder of photos nor a list of them is at {place}")
        for photo in photos:
            self._by_name.setdefault(self._name(photo), photo)

    def _name(self, photo: Path) -> str:
        try:
            return Path(photo).absolute().resolve().relative_to(self.root.resolve()).as_posix()
        except ValueError:
            raise DatasetError(f"{photo}: lies outside of {self.root}, the dataset's folder: move it there") from None

    @property
    def names(self) -> tuple[str, ...]:
        """The name of every sample, in the order of the dataset."""
        return tuple(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Sample]:
        return (self.load(name) for name in self._by_name)

    def load(self, name: str) -> Sample:
        """The sample of that name; KeyError where there is none, DatasetError where its files cannot be read."""
        photo = self._by_name[name]
        labels = self.root / labels_path(Path(name))
        try:
            lines = labels.read_bytes().decode().splitlines(keepends=True) if labels.is_file() else []
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{labels}: cannot be read ({error})") from None
        size = _photo_size(photo) if lines else None
        annotations = tuple(
            self._annotation(number, line, size, labels)
            for number, line in enumerate(lines, start=1)
            if line.strip() and size is not None
        )
        files = (labels,) if labels.is_file() else ()
        return Sample(name, photo, size, annotations, lines if files else None, files)

    def _annotation(self, number: int, line: str, size: tuple[int, int], path: Path) -> Annotation:
        words = line.split()
        try:
            index, values = int(float(words[0])), [float(word) for word in words[1:]]
            if not all(map(math.isfinite, values)):
                raise ValueError("a number is not finite")
            label = self.classes[index] if index >= 0 else ""
            if not label or len(values) < 4:
                raise ValueError("class cx cy width height, or class and a polygon, is expected")
        except (ValueError, IndexError) as error:
            raise DatasetError(f"{path}: line {number} is no label of {len(self.classes)} classes ({error})") from None
        height, width = size
        if not self._keypoints[0] and len(values) >= 6 and len(values) % 2 == 0:
            polygon = [value * (height if place % 2 else width) for place, value in enumerate(values)]
            box = (min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2]))
            return Annotation(number, label, box, [polygon], record=line)
        cx, cy, across, down = values[:4]
        box = ((cx - across / 2) * width, (cy - down / 2) * height, (cx + across / 2) * width, (cy + down / 2) * height)
        return Annotation(number, label, box, None, keypoints=self._points(values[4:], size), record=line)

    def _points(self, values: Sequence[float], size: tuple[int, int]) -> tuple[tuple[float, float] | None, ...]:
        """The keypoints in pixels; none where the file has no third number to say that one is not labelled."""
        count, numbers = self._keypoints
        if numbers != 3 or len(values) < 3 * count:
            return ()
        points = (values[start : start + 3] for start in range(0, 3 * count, 3))
        return tuple((x * size[1], y * size[0]) if v > 0 else None for x, y, v in points)

    # ------------------------------------------------------------------ the way back

    def photo_target(self, name: str) -> Path:
        """Where the photo of that name goes, below the folder of the result."""
        return Path(name)

    def write_photo_labels(self, edit: Edit, out: Path, hole: Any = None) -> list[Path]:
        """Write the label file of one photo that results, and return its path; none where the source has none."""
        sample = self.load(edit.source)
        if sample.record is None:
            return []
        lines = []
        for number, line in enumerate(sample.record, start=1):
            if number in edit.changed and sample.size is not None:
                line = _edited_line(line, edit.changed[number], sample.size)
            if number not in edit.removed:
                lines.append(line)
        target = out / labels_path(Path(edit.name))
        _write(target, "".join(lines).encode())
        return [target]

    def finish(self, edits: Iterable[Edit], out: Path) -> list[Path]:
        """Write `data.yaml` or `classes.txt` and the lists of photos that it names, and return their paths.

        Its `path` is taken out, and splits that lead elsewhere are named by their places below it, so that they are found beside
        the new file, wherever it is moved.

        Raises:
            DatasetError: a split that leads elsewhere is written in a way that cannot be edited.
        """
        by_source: dict[str, list[Edit]] = {}
        for edit in edits:
            by_source.setdefault(edit.source, []).append(edit)
        written = {out / self.path.name: self._text if self.path.suffix == ".txt" else self._moved_yaml()}
        for listing in self._lists:
            target = out / self._name(listing)
            lines = [
                _line_of(out / edit.name, target)
                for line in listing.read_text().splitlines()
                if line.strip()
                for edit in by_source.get(self._name(_listed(line, listing)), ())
            ]
            written[target] = "".join(f"{line}\n" for line in lines)
        for target, new in written.items():
            _write(target, new.encode())
        return list(written)

    def _moved_yaml(self) -> str:
        """The text of `data.yaml` with every split below its own folder."""
        import yaml

        text = re.sub(r"^path[ \t]*:.*(?:\r?\n|$)", "", self._text, flags=re.M)
        for place, moved in self._moved.items():
            text = moved.join(re.split(rf"(?<![\w./~-]){re.escape(place)}(?![\w./~-])", text))
        data = yaml.safe_load(text)
        places = [place for split in _SPLITS for place in _listed_places(data.get(split))]
        if left := [place for place in places if place in self._moved]:
            raise DatasetError(f"{self.path}: {left[0]} would still be read by the result: name it below {self.root}")
        return text


def _listed_places(split: Any) -> list[str]:
    """The folders and lists of a split: none, one, or several."""
    return [str(place) for place in (split if isinstance(split, list) else [split])] if split else []


def labels_path(photo: Path) -> Path:
    """Where the labels of a photo are: the last folder `images` becomes `labels`, the suffix `.txt`."""
    parts = list(photo.parts)
    for place in reversed(range(len(parts) - 1)):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def find_file(path: Path) -> Path | None:
    """The file itself, or what a folder has of `data.yaml` and `classes.txt`, in this order."""
    candidates = [path / "data.yaml", path / "classes.txt"] if path.is_dir() else [path]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _listed(line: str, listing: Path) -> Path:
    """A line of a list of photos: `./` is the list's own folder."""
    path = Path(line.strip())
    return path if path.is_absolute() else (listing.parent / path).absolute()


def _line_of(photo: Path, listing: Path) -> str:
    """A photo's line in a list: `./` is the list's own folder for those who read it, and nothing leads above that, so a photo
    that does not lie below it is named by its whole path."""
    photo, folder = photo.absolute(), listing.parent.absolute()
    return f"./{photo.relative_to(folder).as_posix()}" if photo.is_relative_to(folder) else str(photo)


def _photo_size(path: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError) as error:
        raise DatasetError(f"{path}: its size cannot be read ({error})") from None


def _edited_line(line: str, change: Change, size: tuple[int, int]) -> str:
    """The line with its polygon drawn anew, or with 0 0 0 for the keypoints that are lost."""
    words, ending = line.split(), line[len(line.rstrip()) :]
    height, width = size
    if change.segmentation is not None:
        polygon = joined(as_polygons(change.segmentation, size))
        words[1:] = [f"{value / (height if place % 2 else width):.6f}" for place, value in enumerate(polygon)]
    for place in change.lost_keypoints:
        words[5 + 3 * place : 8 + 3 * place] = ["0", "0", "0"]
    return " ".join(words) + ending


def as_polygons(segmentation: Any, size: tuple[int, int]) -> list[list[float]]:
    """An outline as polygons; an RLE is traced, its gaps are lost."""
    return segmentation if isinstance(segmentation, list) else trace(decode(segmentation, size))


def joined(polygons: Sequence[Sequence[float]]) -> list[float]:
    """Several polygons as one: each next one is reached and left along the same line, which encloses nothing."""
    parts = sorted((list(polygon) for polygon in polygons), key=_polygon_area, reverse=True)
    path = parts[0] if parts else []
    for part in parts[1:]:
        path = _bridged(path, part)
    return path


def _bridged(path: list[float], part: list[float]) -> list[float]:
    """`path` with a detour around `part` where the two are nearest."""
    import numpy as np

    one, other = np.array(path).reshape(-1, 2), np.array(part).reshape(-1, 2)
    distances = ((one[:, None] - other[None]) ** 2).sum(axis=2)
    here, there = np.unravel_index(int(distances.argmin()), distances.shape)
    detour = np.concatenate([other[there:], other[: there + 1], one[here : here + 1]])
    return [float(value) for value in np.concatenate([one[: here + 1], detour, one[here + 1 :]]).ravel()]


def _polygon_area(polygon: Sequence[float]) -> float:
    xs, ys = polygon[::2], polygon[1::2]
    return abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))) / 2


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)
