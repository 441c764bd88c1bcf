"""`Remover`: the whole road from a photo and a request to the photo without what was named.

    photo -> targets -> segmentation -> masks -> inpainting -> photo

This is the only place that knows the whole road. It loads its models once, on first need, and may be used from many threads.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from objremove import inpainting, models, segmentation
from objremove.classes import COCO, VOC
from objremove.device import resolve_device, resolve_precision
from objremove.errors import ModelError, UsageError
from objremove.inpainting.fill import Progress, fill_hole
from objremove.instances import Instance
from objremove.masks import OWN_MASK, Dilation, Hole, build_hole, read_mask
from objremove.photo import Photo, write_atomic
from objremove.targets import Targets, by_falling_area, check_known, choose, parse_targets
from objremove.types import AnyArray, Mask, Pixels

if TYPE_CHECKING:
    import torch
    from PIL import Image

PhotoLike = Any
"""A path, bytes, PIL image, (H, W[, C]) array in RGB order, CHW tensor, or an opened `Photo`."""

DEFAULT_SEGMENTER = "slim-deeplab-voc21"
DEFAULT_INPAINTER = "shift-map"
"""What ships with the package: used by `auto` while nothing better is on this machine."""

BEST_SEGMENTERS = (
    "maskrcnn_resnet50_fpn_v2",
    "deeplabv3_resnet101",
    "maskrcnn_resnet50_fpn",
    "deeplabv3_resnet50",
    "fcn_resnet101",
    "deeplabv3_mobilenet_v3_large",
    "fcn_resnet50",
    "lraspp_mobilenet_v3_large",
    DEFAULT_SEGMENTER,
)
BEST_PROMPTERS = ("sam_vit_h", "sam_vit_l", "sam_vit_b")
BEST_INPAINTERS = ("big-lama", "big-lama.pt", DEFAULT_INPAINTER)
"""What `auto` prefers, best first, of the weights that are already on this machine."""


@dataclass(frozen=True, eq=False)
class Result:
    """What became of one photo.

    Attributes:
        photo: the photo as it came.
        pixels: (H, W, 3) RGB upright, of the photo's dtype: the photo without what was removed.
        alpha: (H, W) or None.
        mask: (H, W) bool: every pixel that may have changed.
        instances: what was removed, by falling area.
        found: all that was found of the classes asked for, removed or kept.
        timings: seconds by stage.
        windows: windows that were filled.
        models: SHA-256 (or None for a method without weights) of each model that took part, by name.
        notes: what the caller should know.
    """

    photo: Photo
    pixels: Pixels
    alpha: AnyArray | None
    mask: Mask
    instances: tuple[Instance, ...] = ()
    found: tuple[Instance, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    windows: int = 0
    models: dict[str, str | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def image(self) -> Any:
        """The result as the same kind of thing that the photo was: path and PIL image give a PIL image of the same mode,
        bytes the encoded file, an array or tensor its like in shape, dtype and range."""
        return self.photo.like_source(self.pixels, self.mask, self.alpha)

    @property
    def changed(self) -> bool:
        """Whether anything was removed."""
        return bool(self.mask.any())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be kept or done as one would expect."""
        return (*self.photo.warnings, *self.notes)

    def encode(self, *, format: str | None = None, quality: int | None = None) -> tuple[bytes, tuple[str, ...]]:
        """The file's bytes, in the source's format unless another is named, and warnings of the encoding."""
        encoded = self.photo.encode(self.pixels, self.mask, alpha=self.alpha, format=format, quality=quality)
        return encoded.data, encoded.warnings

    def save(
        self, path: str | os.PathLike[str], *, format: str | None = None, quality: int | None = None
    ) -> tuple[str, ...]:
        """Write the file, all of it or nothing; the format is `format`, else the path's suffix, else the source's.

        Returns the warnings of the encoding; raises PhotoError where it cannot be written.
        """
        target = Path(path)
        data, warnings = self.encode(format=format or target.suffix.lstrip(".") or None, quality=quality)
        write_atomic(target, data)
        return warnings

    def compare(self) -> Image.Image:
        """Before | mask | after, side by side, as one RGB picture."""
        from objremove.drawing import side_by_side

        return side_by_side(self.photo.pixels, self.mask, self.pixels)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        height, width = self.photo.size
        hole = int(np.count_nonzero(self.mask))
        return {
            "width": width,
            "height": height,
            "removed": [one.to_dict() for one in self.instances],
            "found": len(self.found),
            "hole_area": hole,
            "hole_share": round(hole / max(1, width * height), 6),
            "windows": self.windows,
            "models": self.models,
            "seconds": {stage: round(seconds, 4) for stage, seconds in self.timings.items()},
            "warnings": list(self.warnings),
        }


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


class Remover:
    """Removes objects from photos; loads each model once, on first need.

    Args:
        segmenter: a name of `objremove models list`, a plug-in, a weight file, or `auto`: the best that is on this machine.
        inpainter: likewise.
        prompter: what draws masks for points and boxes and sharpens outlines: `sam_vit_b` and its like, `grabcut`, or `auto`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `fp32` or `bf16`.
        confidence: least score in 0..1 of what counts as found; None takes the segmenter's own default.
        dilate: growth of each object: `auto`, pixels, or `N%` of its size.
        feather: width in pixels of the soft edge in the grown ring; None: chosen by the growth.
        refine_masks: sharpen outlines with SAM; None: where its weights are on this machine.
        offline: never download, not even a model that is named.
        threads: processor threads of torch and OpenCV; None leaves theirs.
        seed: for inpainters that draw random numbers.
        max_megapixels: larger photos are refused before they are decoded.
        on_download: called with (bytes received, bytes in all) while weights are fetched.

    Raises:
        UsageError: an argument that means nothing, or a device that isn't there.
    """

    def __init__(
        self,
        segmenter: str | os.PathLike[str] = "auto",
        inpainter: str | os.PathLike[str] = "auto",
        *,
        prompter: str | os.PathLike[str] = "auto",
        device: str = "auto",
        precision: str = "auto",
        confidence: float | None = None,
        dilate: str | float = "auto",
        feather: int | None = None,
        refine_masks: bool | None = None,
        offline: bool = False,
        threads: int | None = None,
        seed: int = 0,
        max_megapixels: float = 250.0,
        on_download: Callable[[int, int], None] | None = None,
    ) -> None:
        if confidence is not None and not 0 <= confidence <= 1:
            raise UsageError(f"confidence {confidence}: take a number from 0 to 1")
        if feather is not None and feather < 0:
            raise UsageError(f"feather {feather}: take 0 or more pixels")
        if threads is not None and threads < 1:
            raise UsageError(f"threads {threads}: take 1 or more")
        self.segmenter, self.inpainter, self.prompter = map(os.fspath, (segmenter, inpainter, prompter))
        self.device_name, self.precision = device, precision
        self.confidence, self.dilate, self.feather = confidence, Dilation.parse(dilate), feather
        self.refine_masks, self.offline, self.threads, self.seed = refine_masks, offline, threads, seed
        self.max_megapixels, self.on_download = max_megapixels, on_download
        self._loaded: dict[tuple[str, str], Any] = {}
        self._hashes: dict[str, str | None] = {}
        self._lock = threading.Lock()

    # ------------------------------------------------------------------ the road

    def __call__(
        self,
        photo: PhotoLike,
        remove: str | int | Iterable[str | int] = (),
        *,
        keep: str | Iterable[str] = (),
        points: Iterable[Any] = (),
        boxes: Iterable[Any] = (),
        masks: Iterable[AnyArray] = (),
        progress: Progress | None = None,
    ) -> Result:
        """Remove what is named, pointed at or masked.

        Args:
            photo: see `PhotoLike`.
            remove: class names, in the grammar of `objremove.targets`.
            keep: what of that shall stay, in the same grammar, or `largest`, `center`.
            points: `"x,y"`, `"x,y,-"`, (x, y) or (x, y, positive): one object for all of them.
            boxes: `"x0,y0,x1,y1"` or (x0, y0, x1, y1): one object for each.
            masks: (H, W[, C]) arrays, white removes.
            progress: called with (windows done, windows in all); may raise to cancel.

        Raises:
            UsageError, PhotoError, ModelError: one line each.
        """
        clock = _Clock()
        with clock.stage("read"):
            opened = self.open(photo)
        targets = parse_targets(remove, keep=keep, points=points, boxes=boxes, known=self._known(remove))
        targets.check_inside(opened.size)
        own = [read_mask(np.asarray(mask), opened.size) for mask in masks]
        if not (targets.remove or targets.points or targets.boxes or own):
            raise UsageError("nothing to remove was named: give class names, points, boxes or a mask")
        found, going, notes = self._find(opened.pixels, targets, clock)
        drawn = (Instance.from_mask(mask, label=OWN_MASK, source="file") for mask in own)
        going = by_falling_area([*going, *(one for one in drawn if one)])
        hole = build_hole(going, opened.size, dilate=self.dilate, feather=self.feather)
        return self._filled(opened, hole, going, found, notes, clock, progress)

    def find(self, photo: PhotoLike, remove: str | int | Iterable[str | int] = "all") -> list[Instance]:
        """The objects of the classes named, by falling area; every class that the segmenter knows by default."""
        opened = self.open(photo)
        targets = parse_targets(remove, known=self._known(remove))
        _, going, _ = self._find(opened.pixels, targets, _Clock())
        return going

    def fill(
        self, photo: PhotoLike, mask: AnyArray, *, dilate: str | float = 0, progress: Progress | None = None
    ) -> Result:
        """Fill one's own mask, (H, W[, C]), white (or True) removes, grown by `dilate`."""
        clock = _Clock()
        with clock.stage("read"):
            opened = self.open(photo)
        one = Instance.from_mask(read_mask(np.asarray(mask), opened.size), label=OWN_MASK, source="file")
        going = [one] if one else []
        hole = build_hole(going, opened.size, dilate=dilate, feather=self.feather)
        return self._filled(opened, hole, going, [], [], clock, progress)

    def map(
        self, photos: Iterable[PhotoLike], remove: str | int | Iterable[str | int] = (), **request: Any
    ) -> Iterator[Result]:
        """The same request for many photos, one result at a time, in their order."""
        for photo in photos:
            yield self(photo, remove, **request)

    def open(self, photo: PhotoLike) -> Photo:
        """The photo, decoded; raises PhotoError where it cannot be."""
        return photo if isinstance(photo, Photo) else Photo.open(photo, max_megapixels=self.max_megapixels)

    # ------------------------------------------------------------------ its stages

    def _find(
        self, pixels: Pixels, targets: Targets, clock: _Clock
    ) -> tuple[list[Instance], list[Instance], list[str]]:
        """All that was found, what of it goes, and what the caller should know."""
        notes: list[str] = []
        found: list[Instance] = []
        if targets.remove:
            segmenter = self._load_segmenter(targets.labels)
            check_known(targets.labels, segmenter.classes, segmenter.name)
            with clock.stage("find"):
                found = segmenter.find(pixels, targets.labels, confidence=self.confidence)
        going = choose(found, targets)
        going = self._refined(pixels, going, clock)
        if targets.points or targets.boxes:
            prompter = self._load_prompter()
            if prompter.name == "grabcut" and self.prompter == "auto":
                notes.append(
                    "no SAM weights here, so points and boxes were cut out by GrabCut: objremove models pull sam_vit_b"
                )
            with clock.stage("find"):
                going += prompter.select(
                    pixels,
                    points=[(point.x, point.y, point.positive) for point in targets.points],
                    boxes=[(box.x0, box.y0, box.x1, box.y1) for box in targets.boxes],
                )
        return found, going, notes

    def _refined(self, pixels: Pixels, going: list[Instance], clock: _Clock) -> list[Instance]:
        if not going or self.refine_masks is False:
            return going
        name = self._best(BEST_PROMPTERS) if self.prompter == "auto" else self.prompter
        if name is None:
            if self.refine_masks:
                raise ModelError("--refine-masks needs SAM weights, and none are here: objremove models pull sam_vit_b")
            return going
        if self.refine_masks is None and name not in BEST_PROMPTERS:
            return going
        prompter = self._load_prompter()
        with clock.stage("refine"):
            return list(prompter.refine(pixels, going))

    def _filled(
        self,
        photo: Photo,
        hole: Hole,
        going: Sequence[Instance],
        found: Sequence[Instance],
        notes: Sequence[str],
        clock: _Clock,
        progress: Progress | None,
    ) -> Result:
        pixels, alpha, windows = photo.pixels, photo.alpha, 0
        if hole.area:
            inpainter = self._load_inpainter()
            with clock.stage("fill"):
                filled = fill_hole(photo.pixels, hole, inpainter, progress=progress)
                pixels, windows = filled.pixels, len(filled.windows)
                alpha = _filled_alpha(alpha, hole.mask)
        return Result(
            photo=photo,
            pixels=pixels,
            alpha=alpha,
            mask=hole.mask,
            instances=tuple(going),
            found=tuple(found),
            timings=clock.seconds,
            windows=windows,
            models=dict(self._hashes),
            notes=tuple(notes),
        )

    # ------------------------------------------------------------------ its models

    @cached_property
    def device(self) -> torch.device:
        """Where the networks run."""
        if self.threads is not None:
            import cv2
            import torch

            torch.set_num_threads(self.threads)
            cv2.setNumThreads(self.threads)
        return resolve_device(self.device_name)

    def _known(self, remove: Any) -> tuple[str, ...]:
        """The classes that `all` stands for; asks the segmenter only where `all` was said."""
        words = [remove] if isinstance(remove, str | int) else list(remove)
        if not any("all" in str(word).lower() for word in words):
            return ()
        return self._load_segmenter(()).classes

    def _best(self, names: Sequence[str], labels: Iterable[str] = ()) -> str | None:
        """The first of `names` whose file is on this machine and that knows every label."""
        wanted = set(labels)
        for name in names:
            model = models.get(name)
            known = set(COCO.values()) if model.classes == "coco" else set(VOC[1:])
            if (not model.needs_file or models.locate(name)) and wanted <= known:
                return name
        return None

    def _load_segmenter(self, labels: Iterable[str]) -> segmentation.Segmenter:
        name = self.segmenter
        if name == "auto":
            name = self._best(BEST_SEGMENTERS, labels) or self._best(BEST_SEGMENTERS) or DEFAULT_SEGMENTER
        segmenter: segmentation.Segmenter = self._once("segmenter", name)
        return segmenter

    def _load_prompter(self) -> segmentation.Prompter:
        name = (self._best(BEST_PROMPTERS) or "grabcut") if self.prompter == "auto" else self.prompter
        prompter: segmentation.Prompter = self._once("prompter", name)
        return prompter

    def _load_inpainter(self) -> inpainting.Inpainter:
        name = (self._best(BEST_INPAINTERS) or DEFAULT_INPAINTER) if self.inpainter == "auto" else self.inpainter
        inpainter: inpainting.Inpainter = self._once("inpainter", name)
        return inpainter

    def _once(self, kind: str, name: str) -> Any:
        """Load a model at its first use; other threads wait for it."""
        with self._lock:
            if (kind, name) not in self._loaded:
                self._loaded[kind, name] = self._load(kind, name)
                path = models.locate(name)
                self._hashes[name] = models.sha256(path) if path and path.is_file() else None
            return self._loaded[kind, name]

    def _load(self, kind: str, name: str) -> Any:
        device = self.device
        dtype = resolve_precision(self.precision, device)
        if kind == "inpainter":
            return inpainting.load(
                name, device=device, dtype=dtype, seed=self.seed, offline=self.offline, progress=self.on_download
            )
        load = segmentation.load if kind == "segmenter" else segmentation.load_prompter
        return load(name, device=device, dtype=dtype, offline=self.offline, progress=self.on_download)


def _filled_alpha(alpha: AnyArray | None, hole: Mask) -> AnyArray | None:
    """Alpha continued into the hole from around it: what stood before transparency leaves transparency behind."""
    if alpha is None or alpha.min() == alpha.max():
        return alpha
    import cv2

    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    area = np.s_[max(0, rows[0] - 8) : rows[-1] + 9, max(0, columns[0] - 8) : columns[-1] + 9]
    filled = alpha.copy()
    # One channel of 8 or 16 bits: OpenCV's diffusion takes both.
    around = cv2.inpaint(np.ascontiguousarray(alpha[area]), hole[area].astype(np.uint8), 3, cv2.INPAINT_TELEA)
    filled[area] = np.where(hole[area], around, alpha[area])
    return filled


def remove(photo: PhotoLike, remove: str | int | Iterable[str | int] = (), **options: Any) -> Result:
    """Remove objects from one photo: `objremove.remove("photo.jpg", "person,car").save("clean.jpg")`.

    Options are those of `Remover` and of its call. For more than one photo make a `Remover`: it loads its models once.
    """
    request = {name: options.pop(name) for name in ("keep", "points", "boxes", "masks", "progress") if name in options}
    return Remover(**options)(photo, remove, **request)
