"""Photos and labels as they are stored: in folders and in WebDataset tars, read with the standard library.

A record is `KEY.webp` (or .jpg, .png), optionally `KEY.seg.png` (VOC class index in 8-bit grey or as a palette's index, of the
same size, 255 = ignore) and `KEY.json` (`source`, `label`, `classes`).
"""

from __future__ import annotations

import io
import json
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from objremove.classes import ALIASES, VOC
from objremove.errors import PhotoError, UsageError

Bytes = NDArray[np.uint8]

IGNORE = 255
_PHOTO_SUFFIXES = (".webp", ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
_LABEL_SUFFIX = ".seg.png"
_SUFFIXES = (_LABEL_SUFFIX, ".json", *_PHOTO_SUFFIXES)


@dataclass(frozen=True)
class TarPart:
    """A file in an uncompressed tar, read where it lies."""

    tar: Path
    offset: int
    size: int

    def read_bytes(self) -> bytes:
        """As `Path.read_bytes`."""
        with self.tar.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


Stored = bytes | Path | TarPart
"""The content of a file, or where it lies."""


@dataclass(frozen=True, eq=False)
class Record:
    """One photo as it is stored.

    Attributes:
        key: its name in the tar or folder.
        photo: the encoded photo.
        labels: encoded class indices; None where there are none.
        source: where the photo comes from.
        label: how the labels were made: `human`, `human-person`, `pseudo` or `none`.
        classes: VOC indices (1..20) on more than a sliver of the area.
        file: of the photo, or the tar that it lies in.
    """

    key: str
    photo: Stored
    labels: Stored | None
    source: str
    label: str
    classes: tuple[int, ...]
    file: Path


def read_records(paths: Sequence[Path]) -> list[Record]:
    """Every record of the given tars and folders, in the order of their names.

    Raises:
        UsageError: a path does not exist, or nothing is in any of them.
        PhotoError: a tar is damaged, or what stands beside a photo.
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
            f"no photos in {', '.join(map(str, paths))}: records are KEY.webp or .jpg, KEY.seg.png, KEY.json, in a folder "
            "or in tars, which are named one by one or as the folder of train-*.tar and val-*.tar"
        )
    return records


def find_data(path: Path) -> tuple[list[Path], list[Path]]:
    """Photos to train on and to judge by: `train-*.tar` and `val-*.tar` in a folder, or one `train-*.tar` and the `val-*.tar` beside
    it; any other path is the former as a whole."""
    if path.is_dir():
        train, val = (sorted(path.glob(f"{part}-*.tar")) for part in ("train", "val"))
        return train or [path], val
    return [path], sorted(path.parent.glob("val-*.tar")) if path.match("train-*.tar") else []


def read_photo(record: Record) -> Bytes:
    """(H, W, 3) uint8 RGB.

    Raises:
        PhotoError: it cannot be read or decoded.
    """
    content = _content(record.photo, record.key)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    except cv2.error:  # more pixels than OpenCV takes
        image = None
    if image is None:
        raise PhotoError(f"photo {record.key} cannot be decoded: remove it or fetch it again")
    return np.ascontiguousarray(image[..., ::-1], np.uint8)


def read_labels(stored: Stored, key: str) -> Bytes:
    """(H, W) uint8 VOC class index, 255 = ignore.

    Raises:
        PhotoError: they cannot be read, are no indices, or hold one that is no class.
    """
    content = _content(stored, key)
    try:
        # Pillow, because a palette's indices cannot be had from OpenCV.
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in ("P", "L") or (image.mode == "L" and _is_stretched(content)):
                raise PhotoError(f"labels of {key} are no 8-bit grey: give class indices, in 8 bits or in a palette")
            labels = np.array(image, np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise PhotoError(f"labels of {key} cannot be decoded: remove them or fetch them again") from None
    strange = labels[(labels >= len(VOC)) & (labels != IGNORE)]
    if strange.size:
        raise PhotoError(
            f"labels of {key} hold the value {strange[0]}: give VOC class indices, 0 to 20, and 255 where unknown"
        )
    return labels


def _is_stretched(content: bytes) -> bool:
    """Whether it is a PNG of fewer than 8 bits, whose greys a reader spreads over 0..255."""
    return content.startswith(b"\x89PNG") and content[24:25] < b"\x08"


def _content(stored: Stored, key: str) -> bytes:
    if isinstance(stored, bytes):
        return stored
    try:
        return stored.read_bytes()
    except OSError as error:
        raise PhotoError(f"{key} cannot be read ({error.strerror or error}): look at its disk") from None


def _tar_records(path: Path) -> Iterator[Record]:
    parts: dict[str, dict[str, Stored]] = {}
    try:
        tar, whole = _opened(path)
        with tar:
            for member in tar:
                key, suffix = _split(member.name)
                if suffix and not member.isdir():
                    parts.setdefault(key, {})[suffix] = _part(tar, member, path if whole else None)
    except (tarfile.TarError, EOFError, KeyError, OSError, zlib.error, lzma.LZMAError) as error:
        raise PhotoError(f"{path} is no whole tar file ({error}): fetch it again") from None
    for key, part in parts.items():
        photo = next((part[suffix] for suffix in _PHOTO_SUFFIXES if suffix in part), None)
        if photo is not None:
            yield _record(key, photo, part.get(_LABEL_SUFFIX), part.get(".json"), path)


def _opened(path: Path) -> tuple[tarfile.TarFile, bool]:
    """The tar, and whether its members lie in the file as they are."""
    try:
        return tarfile.open(path, "r:"), True
    except tarfile.ReadError:
        return tarfile.open(path), False


def _part(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path | None) -> Stored:
    """A member where it lies in the tar of that path; what is packed, or in pieces, is read now."""
    if path is not None and member.isreg() and not member.issparse():
        return TarPart(path, member.offset_data, member.size)
    file = tar.extractfile(member)
    return file.read() if file else b""


def _split(path: str) -> tuple[str, str]:
    """Key and suffix of a file; the suffix is empty where it is no part of a record."""
    folder, slash, name = path.removeprefix("./").rpartition("/")
    suffix = next((suffix for suffix in _SUFFIXES if name.lower().endswith(suffix)), "")
    return folder + slash + name[: len(name) - len(suffix)], "" if name.startswith(".") else suffix


def _folder_records(folder: Path) -> Iterator[Record]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        here = set(names)
        for name in sorted(names):
            if _split(name)[1] not in _PHOTO_SUFFIXES:
                continue
            file = Path(parent, name)
            labels, meta = (
                file.with_name(file.stem + suffix) if file.stem + suffix in here else None
                for suffix in (_LABEL_SUFFIX, ".json")
            )
            yield _record(str(file.relative_to(folder)), file, labels, meta, file)


def _record(key: str, photo: Stored, labels: Stored | None, meta: Stored | None, file: Path) -> Record:
    content = {} if meta is None else _meta(meta, key)
    if "classes" in content:
        names = [ALIASES.get(str(name), str(name)) for name in content["classes"]]
        if strange := [name for name in names if name not in VOC]:
            raise UsageError(
                f"the JSON of {key} names the class {strange[0]!r}, which is none of VOC's: take it out of the list"
            )
        classes = tuple(map(VOC.index, names))
    elif labels is not None:
        classes = tuple(int(label) for label in np.unique(read_labels(labels, key)) if 0 < label < len(VOC))
    else:
        classes = ()
    label = content.get("label", "none" if labels is None else "human")
    return Record(key, photo, labels, str(content.get("source", "folder")), str(label), classes, file)


def _meta(stored: Stored, key: str) -> dict[str, Any]:
    try:
        content = json.loads(_content(stored, key))
    except ValueError as error:
        raise PhotoError(f"the JSON of {key} cannot be read ({error}): mend it or take it away") from None
    if not isinstance(content, dict) or not isinstance(content.get("classes", []), list):
        raise PhotoError(
            f'the JSON of {key} is of another kind: write it like {{"source": "yard", "classes": ["dog"]}}'
        )
    return content
