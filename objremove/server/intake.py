"""What comes in: photos and masks, judged by their headers before anything is decoded, and decoded before they are accepted."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import psutil

from objremove.errors import PhotoError
from objremove.photo import Photo, read
from objremove.server.problems import Problem
from objremove.server.settings import Settings
from objremove.server.shelves import Searches
from objremove.server.store import StoredPhoto, extension_of, harmless_stem
from objremove.types import AnyArray

BYTES_PER_PIXEL = 50
"""Of a photo in work at its worst, 16 bits with transparency: 46 were measured; an 8-bit JPEG takes 19."""

_KEPT_OPEN = 4
_KEPT_PIXELS = 50_000_000


@dataclass(eq=False)
class OpenPhoto:
    """A decoded photo, and what was found in it."""

    photo: Photo
    found: Searches = field(default_factory=Searches)


class Intake:
    """Accepts photos, and keeps the last ones decoded. Thread-safe.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._max_megapixels = settings.max_megapixels
        self._open: OrderedDict[str, OpenPhoto] = OrderedDict()
        self._lock = threading.Lock()

    def accept(self, data: bytes, name: str | None) -> StoredPhoto:
        """The photo in `data`, decoded once to be sure of it.

        Raises:
            Problem: 413, too many pixels, or more than there is memory for; 415, no picture.
            PhotoError: truncated or damaged.
        """
        declared, _ = self._judge(data)
        opened = Photo.open(data, max_megapixels=self._max_megapixels)
        format = opened.format or declared
        stored = StoredPhoto(data, format, opened.size, harmless_stem(name), extension_of(format, name))
        self._keep(stored, OpenPhoto(opened))
        return stored

    def opened(self, stored: StoredPhoto) -> OpenPhoto:
        """The photo, decoded; the last few are remembered."""
        with self._lock:
            if stored.photo_id in self._open:
                self._open.move_to_end(stored.photo_id)
                return self._open[stored.photo_id]
        self.check_memory(stored.size)
        return self._keep(stored, OpenPhoto(Photo.open(stored.data, max_megapixels=self._max_megapixels)))

    def mask(self, data: bytes, size: tuple[int, int]) -> AnyArray:
        """A mask file's samples, (H, W, C), alpha included; Problem (422) where it is not of the photo's `size` = (H, W)."""
        _, declared = self._judge(data)
        # A mask may be stored turned: its header says the sides, not yet which of them is the height.
        if sorted(declared) != sorted(size):
            height, width = declared
            raise Problem(
                422,
                "invalid",
                f"the mask is {width}x{height} pixels, the photo {size[1]}x{size[0]}: they must be equal",
            )
        opened = Photo.open(data, max_megapixels=self._max_megapixels)
        return opened.pixels if opened.alpha is None else np.dstack([opened.pixels, opened.alpha])

    def check_memory(self, size: tuple[int, int]) -> None:
        """Raise where a photo of `size` = (H, W) needs more memory than there is: Problem, 413 for ever, 503 for now."""
        needed = size[0] * size[1] * BYTES_PER_PIXEL
        memory = psutil.virtual_memory()
        if needed > 0.9 * memory.total:
            raise Problem(
                413, "too_large", f"this photo would need {needed / 1e9:.1f} GB of memory, more than there is"
            )
        if needed > 0.9 * memory.available:
            message = f"this photo needs {needed / 1e9:.1f} GB of memory, more than is free just now: try again"
            raise Problem(503, "no_memory", message, retry_after=30)

    def forget(self, photo_id: str) -> None:
        """Drop a photo."""
        with self._lock:
            self._open.pop(photo_id, None)

    def clear(self) -> None:
        """Drop all of them."""
        with self._lock:
            self._open.clear()

    def _judge(self, data: bytes) -> tuple[str, tuple[int, int]]:
        """Format and (H, W) by the header alone."""
        if not data:
            raise Problem(422, "bad_photo", "the file is empty")
        try:
            image = read.identify(data, "input")  # not Pillow's own: its limit of pixels is one for the whole process
        except PhotoError as error:
            raise Problem(415, "unsupported", str(error).removeprefix("input: ")) from None
        with image:
            format, width, height = image.format or "", image.width, image.height
        if width * height > self._max_megapixels * 1e6:
            raise Problem(
                413,
                "too_large",
                f"{width} x {height} pixels are {width * height / 1e6:.0f} megapixels; "
                f"this server takes up to {self._max_megapixels:g}",
            )
        self.check_memory((height, width))
        return format, (height, width)

    def _keep(self, stored: StoredPhoto, opened: OpenPhoto) -> OpenPhoto:
        """Remember a decoded photo, unless it has gone meanwhile, and forget older ones where they are many or large."""
        with self._lock:
            if stored.gone:
                return opened
            self._open[stored.photo_id] = opened
            while len(self._open) > 1 and (len(self._open) > _KEPT_OPEN or self._pixels() > _KEPT_PIXELS):
                self._open.popitem(last=False)
        return opened

    def _pixels(self) -> int:
        return sum(one.photo.size[0] * one.photo.size[1] for one in self._open.values())
