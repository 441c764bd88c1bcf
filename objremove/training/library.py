"""Photos and labels to train on: WebDataset tars or a folder, read with the standard library, decoded once while memory lasts.

A record is `KEY.webp` (or .jpg, .png), optionally `KEY.seg.png` (8-bit VOC class index of the same size, 255 = ignore) and
`KEY.json` (`source`, `label`, `classes`).
"""

from __future__ import annotations

import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from objremove.classes import ALIASES, VOC
from objremove.errors import PhotoError, UsageError
from objremove.types import Mask

Bytes = NDArray[np.uint8]

_PHOTO_SUFFIXES = (".webp", ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
_LABEL_SUFFIX = ".seg.png"
_MOST_DRAWS = 1000
IGNORE = 255


@dataclass(frozen=True, eq=False)
class Record:
    """One photo as it is stored.

    Attributes:
        key: its name in the tar or folder.
        photo: encoded bytes, or the file that holds them.
        labels: encoded class indices, or the file that holds them; None where there are none.
        source: where the photo comes from.
        label: how the labels were made: `human`, `human-person`, `pseudo` or `none`.
        classes: VOC indices (1..20) on more than a sliver of the area.
    """

    key: str
    photo: bytes | Path
    labels: bytes | Path | None
    source: str
    label: str
    classes: tuple[int, ...]


class PhotoLibrary:
    """Random access to decoded photos and labels. Thread-safe: what is decoded after construction is not kept.

    Args:
        records: what is in it.
        memory_gb: decoded arrays are kept up to this size, in the order of `records`.
        short_side: longer photos are reduced to this short side in pixels; 0 keeps them.
        threads: that decode.
    """

    def __init__(self, records: Sequence[Record], *, memory_gb: float = 0, short_side: int = 0, threads: int = 4):
        self.records = records
        self._short_side = short_side
        self._kept: list[tuple[Bytes, Bytes | None]] = []
        room = memory_gb * 1e9
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(records), 256):
                if room <= 0:
                    break
                decoded = list(pool.map(self._decode, records[start : start + 256]))
                self._kept += decoded
                room -= sum(photo.nbytes + (0 if labels is None else labels.nbytes) for photo, labels in decoded)

    def __len__(self) -> int:
        return len(self.records)

    def photo(self, index: int) -> Bytes:
        """(H, W, 3) uint8 RGB; not to be written to."""
        return self._entry(index)[0]

    def labels(self, index: int) -> Bytes:
        """(H, W) uint8 VOC class index, 255 = unknown; not to be written to."""
        photo, labels = self._entry(index)
        return np.full(photo.shape[:2], IGNORE, np.uint8) if labels is None else labels

    def summary(self) -> dict[str, int]:
        """Number of photos by source."""
        return dict(sorted(Counter(record.source for record in self.records).items()))

    def _entry(self, index: int) -> tuple[Bytes, Bytes | None]:
        return self._kept[index] if index < len(self._kept) else self._decode(self.records[index])

    def _decode(self, record: Record) -> tuple[Bytes, Bytes | None]:
        photo = _imdecode(record.photo, cv2.IMREAD_COLOR, record.key)
        photo = np.ascontiguousarray(photo[..., ::-1])
        labels = None if record.labels is None else _imdecode(record.labels, cv2.IMREAD_GRAYSCALE, record.key)
        if labels is not None and labels.shape != photo.shape[:2]:
            raise PhotoError(f"labels of {record.key} are of another size than the photo: make them anew")
        shorter = min(photo.shape[:2])
        if self._short_side and shorter > self._short_side:
            height, width = (round(side * self._short_side / shorter) for side in photo.shape[:2])
            photo = np.asarray(cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA))
            if labels is not None:
                labels = np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST))
        return photo, labels


class ShapeBank:
    """Outlines of labelled objects, for holes and for pasting.

    Args:
        library: where they come from.
        classes: VOC indices that count; records without any of them are passed over.
        balance: 0 draws a class as often as photos show it, 1 all classes equally often.
    """

    def __init__(
        self, library: PhotoLibrary, classes: Iterable[int] = range(1, len(VOC)), *, balance: float = 1.0
    ) -> None:
        self._library = library
        self._classes = frozenset(classes)
        self._by_class: dict[int, list[int]] = {}
        for index, record in enumerate(library.records):
            for label in self._classes.intersection(record.classes if record.labels is not None else ()):
                self._by_class.setdefault(label, []).append(index)
        if not self._by_class:
            raise UsageError(
                "the training photos have no labelled objects: give labels, or set the share of shapes to 0"
            )
        self._lots = [
            label for label in sorted(self._by_class) for _ in range(round(len(self._by_class[label]) ** (1 - balance)))
        ]

    def draw(self, rng: np.random.Generator) -> tuple[int, int, Mask]:
        """Index of a photo, VOC index, and the (H, W) mask of the largest object of that class in it.

        Raises:
            UsageError: the labels hold nothing of what is said of them.
        """
        for _ in range(_MOST_DRAWS):
            label = self._lots[int(rng.integers(len(self._lots)))]
            index = self._by_class[label][int(rng.integers(len(self._by_class[label])))]
            found = (self._library.labels(index) == label).astype(np.uint8)
            count, components, stats, _ = cv2.connectedComponentsWithStats(found)
            if count > 1:
                largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
                return index, label, np.asarray(components == largest)
        raise UsageError(
            f"{_MOST_DRAWS} photos drawn are said to show a class that their labels lack: mend the KEY.json"
        )

    def outline(self, rng: np.random.Generator) -> Mask:
        """A tight (h, w) mask of one object."""
        mask = self.draw(rng)[2]
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def read_records(paths: Sequence[Path]) -> list[Record]:
    """Every record of the given tars and folders, in the order of their names.

    Raises:
        UsageError: a path does not exist, or nothing is in any of them.
        PhotoError: a tar is damaged.
    """
    records: list[Record] = []
    for path in paths:
        if path.is_dir():
            records += _folder_records(path)
        elif path.is_file():
            records += _tar_records(path)
        else:
            raise UsageError(f"{path}: no such file or folder: name tar files or a folder")
    if not records:
        raise UsageError(
            f"no photos in {', '.join(map(str, paths))}: records are KEY.webp or .jpg, KEY.seg.png, KEY.json"
        )
    return records


def find_data(path: Path) -> tuple[list[Path], list[Path]]:
    """Training and validation tars in a folder of `train-*.tar` and `val-*.tar`; any other path is training data as a whole."""
    tars = sorted(path.glob("train-*.tar")) if path.is_dir() else []
    return (tars, sorted(path.glob("val-*.tar"))) if tars else ([path], [])


def sampling_weights(
    records: Sequence[Record],
    *,
    source_weights: Mapping[str, float],
    label_weights: Mapping[str, float],
    unlabelled_weight: float,
    class_balance: float,
) -> NDArray[np.float64]:
    """Probability of each record; see `DataConfig` for what the arguments mean.

    Raises:
        UsageError: no record has a weight above 0.
    """
    counts = Counter(label for record in records for label in record.classes)
    most = max(counts.values(), default=1)
    weights = np.empty(len(records))
    for index, record in enumerate(records):
        weight = source_weights.get(record.source, 1.0) * label_weights.get(record.label, 1.0)
        if record.classes:
            weight *= (most / min(counts[label] for label in record.classes)) ** class_balance
        else:
            weight *= unlabelled_weight
        weights[index] = weight
    if weights.sum() <= 0:
        raise UsageError("every training photo has weight 0: look at source_weights and label_weights")
    return np.asarray(weights / weights.sum())


def _tar_records(path: Path) -> Iterator[Record]:
    parts: dict[str, dict[str, bytes]] = {}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file is None:
                    continue
                folder, slash, name = member.name.removeprefix("./").rpartition("/")
                key, _, extension = name.partition(".")
                parts.setdefault(folder + slash + key, {})["." + extension.lower()] = file.read()
    except (tarfile.TarError, EOFError) as error:
        raise PhotoError(f"{path} is no whole tar file ({error}): fetch it again") from None
    for key, part in parts.items():
        photo = next((part[suffix] for suffix in _PHOTO_SUFFIXES if suffix in part), None)
        if photo is not None:
            yield _record(key, photo, part.get(_LABEL_SUFFIX), part.get(".json"))


def _folder_records(folder: Path) -> Iterator[Record]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        here = set(names)
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() not in _PHOTO_SUFFIXES or name.endswith(_LABEL_SUFFIX):
                continue
            file = Path(parent, name)
            labels = file.with_name(stem + _LABEL_SUFFIX) if stem + _LABEL_SUFFIX in here else None
            meta = file.with_suffix(".json").read_bytes() if stem + ".json" in here else None
            yield _record(str(file.relative_to(folder)), file, labels, meta)


def _record(key: str, photo: bytes | Path, labels: bytes | Path | None, meta: bytes | None) -> Record:
    content: dict[str, Any] = json.loads(meta) if meta else {}
    if "classes" in content:
        names = [ALIASES.get(str(name), str(name)) for name in content["classes"]]
        if strange := [name for name in names if name not in VOC]:
            raise UsageError(
                f"{key}.json names the class {strange[0]!r}, which is none of VOC's: take it out of the list"
            )
        classes = tuple(map(VOC.index, names))
    elif labels is not None:
        found = np.unique(_imdecode(labels, cv2.IMREAD_GRAYSCALE, key))
        classes = tuple(int(label) for label in found if 0 < label < len(VOC))
    else:
        classes = ()
    label = content.get("label", "none" if labels is None else "human")
    return Record(key, photo, labels, str(content.get("source", "folder")), str(label), classes)


def _imdecode(encoded: bytes | Path, flags: int, key: str) -> Bytes:
    content = encoded.read_bytes() if isinstance(encoded, Path) else encoded
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if image is None:
        raise PhotoError(f"training photo {key} cannot be decoded: remove it or fetch it again")
    return np.asarray(image, np.uint8)
