"""Photos and labels to train on: decoded once while memory lasts, drawn by weights, and lending the shapes of their objects."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from objremove.classes import VOC
from objremove.errors import PhotoError, UsageError
from objremove.training.files import IGNORE, Bytes, Record, read_labels, read_photo
from objremove.types import Mask

_MOST_DRAWS = 1000

Decoded = tuple[Bytes, Bytes | None]
"""Photo (H, W, 3), and labels (H, W) where there are some."""


class PhotoLibrary:
    """Random access to decoded photos and labels. Thread-safe: what is decoded after construction is not kept.

    Args:
        records: what is in it.
        memory_gb: decoded arrays are kept up to this size, in the order of `records`.
        short_side: longer photos are reduced to this short side in pixels; 0 keeps them.
        threads: that decode.
        forgiving: whether a photo that cannot be decoded is an error only where it is asked for.

    Attributes:
        kept_bytes: size of what is kept.

    Raises:
        PhotoError: a photo that is to be kept cannot be decoded.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        memory_gb: float = 0,
        short_side: int = 0,
        threads: int = 4,
        forgiving: bool = False,
    ) -> None:
        self.records = records
        self.kept_bytes = 0
        self._short_side = short_side
        self._kept: list[Decoded | None] = []
        if memory_gb > 0:
            self._decode_ahead(memory_gb * 1e9, threads, forgiving)

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

    def digest(self) -> str:
        """SHA-256 of the photos' keys, kinds of labels and classes, in their order: another one tells of other data."""
        told = [(record.key, record.source, record.label, record.classes) for record in self.records]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def _decode_ahead(self, room: float, threads: int, forgiving: bool) -> None:
        decode = self._decode_if_whole if forgiving else self._decode
        with ThreadPoolExecutor(threads) as pool:
            # A few at a time: what is decoded beyond the room is thrown away.
            for start in range(0, len(self), 4 * threads):
                if not self._keep(pool.map(decode, self.records[start : start + 4 * threads]), room):
                    break

    def _keep(self, decoded: Iterable[Decoded | None], room: float) -> bool:
        """Keep what there is room for; whether there was for all."""
        for entry in decoded:
            size = sum(part.nbytes for part in entry or () if part is not None)
            if self.kept_bytes + size > room:
                return False
            self.kept_bytes += size
            self._kept.append(entry)
        return True

    def _entry(self, index: int) -> Decoded:
        kept = self._kept[index] if index < len(self._kept) else None
        return self._decode(self.records[index]) if kept is None else kept

    def _decode_if_whole(self, record: Record) -> Decoded | None:
        try:
            return self._decode(record)
        except PhotoError:
            return None

    def _decode(self, record: Record) -> Decoded:
        photo = read_photo(record)
        labels = None if record.labels is None else read_labels(record.labels, record.key)
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
