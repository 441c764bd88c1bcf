"""The photos that clients have sent and the results made of them: in memory, under ids that cannot be guessed, until they expire."""

from __future__ import annotations

import re
import secrets
import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from objremove.instances import Instance
from objremove.server.problems import Problem

EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "HEIF": (".heic", ".heif", ".hif"),
}
"""Extensions of each format that is read, the usual one first."""

MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "GIF": "image/gif",
    "PPM": "image/x-portable-anymap",
    "HEIF": "image/heif",
}
_LONGEST_STEM = 80
_MOST_FOUND = (
    200_000_000  # bytes of the masks of what was found in one photo: thousands of objects, or dozens of huge ones
)


@dataclass(frozen=True, eq=False)
class Named:
    """An instance that a client can name.

    Attributes:
        number: its number within its class.
        instance: what was found.
        look: which search of the photo found it.
    """

    number: int
    instance: Instance
    look: int


@dataclass(eq=False)
class StoredPhoto:
    """One photo, as it came or as a result.

    Attributes:
        data: the file.
        format: Pillow's name of its format.
        size: (H, W), upright.
        stem: its name without extension, made harmless.
        extension: with its dot.
        removed: whether it is a result.
        mask: a result's mask as a PNG file.
        photo_id: what clients call it.
        found: what was found in it, by id.
        looks: how many searches have found something.
        previews: encoded previews by longest side.
        gone: the store has forgotten it; work on it may still be under way.
    """

    data: bytes
    format: str
    size: tuple[int, int]
    stem: str
    extension: str
    removed: bool = False
    mask: bytes | None = None
    photo_id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    found: dict[str, Named] = field(default_factory=dict)
    looks: int = 0
    previews: dict[int, bytes] = field(default_factory=dict)
    used: float = field(default_factory=time.monotonic)
    gone: bool = False

    @property
    def name(self) -> str:
        """The file name to download it under."""
        return self.stem + (".removed" if self.removed else "") + self.extension

    @property
    def media_type(self) -> str:
        """What the file is, by its content; never what a client said."""
        return MEDIA_TYPES.get(self.format, "application/octet-stream")

    @property
    def cost(self) -> int:
        """Bytes that it takes in memory."""
        masks = sum(named.instance.crop.nbytes for named in list(self.found.values()))
        return len(self.data) + len(self.mask or b"") + masks + sum(map(len, list(self.previews.values())))

    def remember(self, instances: Iterable[tuple[int, Instance]], beside: Sequence[str] = ()) -> list[str]:
        """Keep what was found; the ids, in the same order. What is known already keeps its id, and the oldest make room.

        What was found `beside` instances of those ids belongs to the searches that found these.
        """
        known = {id(named.instance): key for key, named in self.found.items()}
        ids = []
        self.looks += 1
        for number, one in instances:
            key = known.get(id(one)) or secrets.token_urlsafe(9)
            look = next(
                (self.found[other].look for other in beside if self.found[other].instance.label == one.label),
                self.looks,
            )
            self.found.setdefault(key, Named(number, one, look))
            ids.append(key)
        excess = sum(named.instance.crop.nbytes for named in self.found.values()) - _MOST_FOUND
        for key in [key for key in self.found if key not in ids and key not in beside]:  # the oldest come first
            if excess <= 0:
                break
            excess -= self.found.pop(key).instance.crop.nbytes
        return ids

    def instances(self, ids: Iterable[str]) -> list[Instance]:
        """The instances of those ids; Problem where one is not of this photo."""
        try:
            return [self.found[key].instance for key in dict.fromkeys(ids)]
        except KeyError:
            raise Problem(404, "unknown_instance", "no such instance in this photo: ask /v1/detect again") from None

    def others(self, ids: Iterable[str]) -> list[Instance]:
        """What the same searches found of the same classes besides the instances of those ids."""
        wanted = set(ids)
        kinds = {(self.found[key].look, self.found[key].instance.label) for key in wanted}
        return [
            named.instance
            for key, named in self.found.items()
            if key not in wanted and (named.look, named.instance.label) in kinds
        ]


class Store:
    """Keeps photos until they have not been used for a while, or others need their room. Thread-safe.

    Args:
        most_bytes: of all photos together.
        seconds: without use.
        forget: called with the id of each photo that goes, whatever the reason.
    """

    def __init__(
        self,
        most_bytes: float,
        seconds: float,
        *,
        forget: Callable[[str], None] = lambda photo_id: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._photos: OrderedDict[str, StoredPhoto] = OrderedDict()
        self._most_bytes, self.seconds, self._forget, self._now = most_bytes, seconds, forget, now
        self._lock = threading.Lock()

    def add(self, photo: StoredPhoto) -> StoredPhoto:
        """Keep a photo; the least recently used ones make room."""
        if photo.cost > self._most_bytes:
            self._drop(photo)
            raise Problem(413, "too_large", "the photo is larger than all that this server keeps: --keep-megabytes")
        with self._lock:
            photo.used = self._now()
            self._photos[photo.photo_id] = photo
            self._tidy()
        return photo

    def get(self, photo_id: str) -> StoredPhoto:
        """The photo of that id, which counts as a use.

        Raises:
            Problem: 404, there is none, or there is none any more.
        """
        with self._lock:
            self._tidy()
            if photo_id not in self._photos:
                raise Problem(404, "unknown_photo", "no such photo: it expired or was deleted; send it again")
            photo = self._photos[photo_id]
            photo.used = self._now()
            self._photos.move_to_end(photo_id)
            return photo

    def delete(self, photo_id: str) -> None:
        """Forget a photo; Problem (404) where there is none."""
        photo = self.get(photo_id)
        with self._lock:
            self._drop(photo)

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            for photo in list(self._photos.values()):
                self._drop(photo)

    def tidy(self) -> None:
        """Forget what has expired; to be called every now and then, where nobody asks for photos."""
        with self._lock:
            self._tidy()

    @property
    def totals(self) -> tuple[int, int]:
        """How many photos there are, and their bytes."""
        with self._lock:
            self._tidy()
            return len(self._photos), sum(photo.cost for photo in self._photos.values())

    def _tidy(self) -> None:
        """Forget what has expired, then what is over the limit, the least recently used first; under the lock."""
        oldest = self._now() - self.seconds
        costs = {key: photo.cost for key, photo in self._photos.items()}
        total = sum(costs.values())
        for key in list(self._photos):
            if self._photos[key].used > oldest and (total <= self._most_bytes or len(self._photos) == 1):
                break
            total -= costs[key]
            self._drop(self._photos[key])

    def _drop(self, photo: StoredPhoto) -> None:
        photo.gone = True
        self._photos.pop(photo.photo_id, None)
        self._forget(photo.photo_id)


def harmless_stem(name: str | None) -> str:
    """What is left of a client's file name for the name of a download: no folders, controls or tricks of direction, no extension."""
    base = re.split(r"[/\\]", name or "")[-1]
    base = unicodedata.normalize("NFC", base)
    base = "".join(sign for sign in base if unicodedata.category(sign)[0] not in "CZ" or sign == " ")
    base = re.sub(r'[<>:"|?*;%]', "_", base)
    stem = base.rpartition(".")[0] if base.rpartition(".")[0].strip(". ") else base
    return stem.strip(". ")[:_LONGEST_STEM].strip(". ") or "photo"


def extension_of(format: str, name: str | None = None) -> str:
    """The extension of a download: the client's own where it is one of that format."""
    usual = EXTENSIONS.get(format, ("",))
    theirs = re.search(r"\.[A-Za-z]{1,5}$", name or "")
    return theirs[0].lower() if theirs and theirs[0].lower() in usual else usual[0]
