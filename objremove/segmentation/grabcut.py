"""GrabCut (Rother et al., SIGGRAPH 2004) as a `Prompter`: boxes and points without any weights.

Colour models of object and background are fitted to a crop of bounded size and cut apart along edges. It knows nothing of
objects: it works where the object's colours differ from what surrounds it. Results are the same on every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from objremove.instances import Instance
from objremove.segmentation.base import BOX_LABEL
from objremove.segmentation.instance import mask_iou
from objremove.segmentation.outline import FloatMap, as_uint8, close_small_gaps, positive_crop, resize
from objremove.segmentation.prompts import Points
from objremove.types import Mask, Pixels

Box = tuple[int, int, int, int]

_WORK_SIDE: Final = 320  # longest side of the crop that is cut
_ROUNDS: Final = 4
_SURROUNDINGS: Final = 0.35  # of the box's extent, on each side: what the background's colours are learned from
_LEAST_IOU: Final = 0.6  # a refined mask must keep this IoU with the original
_LEAST_OF_BOX: Final = 0.2  # people draw boxes around objects: a cut that covers less of it has missed the object
_MOST_OF_PHOTO: Final = 0.4  # an object that is pointed at covers no more than this
_TOLERANCES: Final = (3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40)  # Lab steps of the region growing
_BACK, _OBJECT, _MAYBE_BACK, _MAYBE_OBJECT = cv2.GC_BGD, cv2.GC_FGD, cv2.GC_PR_BGD, cv2.GC_PR_FGD
_Hints = NDArray[np.uint8]


@dataclass(frozen=True)
class _Work:
    """A crop of the photo at working scale: (h, w, 3) RGB and the box that it covers."""

    image: NDArray[np.uint8]
    box: Box

    @property
    def scale(self) -> tuple[float, float]:
        """Working pixels for each photo pixel, (x, y)."""
        x0, y0, x1, y1 = self.box
        return self.image.shape[1] / (x1 - x0), self.image.shape[0] / (y1 - y0)

    def inner(self, box: Box) -> Box:
        """A box of the photo in working pixels, at least one pixel large."""
        across, down = self.scale
        left, top = int((box[0] - self.box[0]) * across), int((box[1] - self.box[1]) * down)
        right, bottom = round((box[2] - self.box[0]) * across), round((box[3] - self.box[1]) * down)
        return left, top, max(left + 1, right), max(top + 1, bottom)

    def place(self, x: int, y: int) -> tuple[int, int]:
        """A pixel of the photo in working pixels."""
        across, down = self.scale
        return int((x + 0.5 - self.box[0]) * across), int((y + 0.5 - self.box[1]) * down)


class GrabCutPrompter:
    """Boxes and points to masks by colour and edges alone; the embedded `Prompter`."""

    name = "grabcut"

    def select(
        self, pixels: Pixels, *, points: Sequence[tuple[int, int, bool]] = (), boxes: Sequence[Box] = ()
    ) -> list[Instance]:
        """As `Prompter.select`. A box in which little stands out from its surroundings is taken whole.

        Points grow to the region of similar colour around them, over at most 40 % of the photo; negative points hold it back.
        """
        found: list[Instance | None] = []
        if any(positive for *_, positive in points):
            found.append(_from_points(pixels, points))
        found += [_from_box(pixels, _clipped(box, _size(pixels))) for box in boxes]
        return [instance for instance in found if instance is not None]

    def refine(self, pixels: Pixels, instances: Sequence[Instance]) -> list[Instance]:
        """As `Prompter.refine`: the outline is cut anew within a band around it, its width set by the boundary error.

        A cut that leaves less than an IoU of 0.6 with the original is not taken. Measured on hand-labelled photos: coarse masks
        (the embedded segmenter's, mean IoU 0.63) gain 0.016, masks that are good already (0.95) lose 0.03. So it is for
        coarse masks only.
        """
        return [_recut(pixels, instance) for instance in instances]


def _from_box(pixels: Pixels, box: Box) -> Instance | None:
    x0, y0, x1, y1 = box
    if x0 >= x1 or y0 >= y1:
        return None
    work = _crop(pixels, _grown(box, _SURROUNDINGS, _size(pixels)))
    hints = np.full(work.image.shape[:2], _BACK, np.uint8)
    left, top, right, bottom = work.inner(box)
    hints[top:bottom, left:right] = _MAYBE_OBJECT
    cut = _cut(work.image, hints)
    inside = hints == _MAYBE_OBJECT
    if np.count_nonzero(cut) < _LEAST_OF_BOX * np.count_nonzero(inside):
        cut = inside
    drawn = _draw(cut, work, _size(pixels), label=BOX_LABEL)
    return drawn if drawn is None else _within(drawn, box)


def _from_points(pixels: Pixels, points: Points) -> Instance | None:
    height, width = _size(pixels)
    whole = _crop(pixels, (0, 0, width, height))
    seeds = [whole.place(x, y) for x, y, positive in points if positive]
    barred = [whole.place(x, y) for x, y, positive in points if not positive]
    region = _grow(whole.image, seeds, barred)
    hints = np.where(_thickened(region, 0.15), _MAYBE_BACK, _BACK).astype(np.uint8)
    hints[region] = _MAYBE_OBJECT
    reach = max(1, round(0.01 * max(hints.shape)))
    for x, y in seeds:
        cv2.circle(hints, (x, y), reach, _OBJECT, cv2.FILLED)
    for x, y in barred:
        cv2.circle(hints, (x, y), reach, _BACK, cv2.FILLED)
    cut = _holding(_cut(whole.image, hints), seeds)
    return _draw(cut if cut.any() else region, whole, (height, width), label="point")


def _recut(pixels: Pixels, instance: Instance) -> Instance:
    work = _crop(pixels, _grown(instance.box, _SURROUNDINGS, instance.size))
    across, down = work.scale
    mask = _at_work_scale(instance, work)
    band = max(2, round(instance.boundary_error * max(across, down)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    core, reach = cv2.erode(mask, kernel, borderValue=1), cv2.dilate(mask, kernel)
    if not core.any() or reach.all():
        return instance
    hints = np.where(mask > 0, _MAYBE_OBJECT, _MAYBE_BACK).astype(np.uint8)
    hints[core > 0] = _OBJECT
    hints[reach == 0] = _BACK
    drawn = _draw(_cut(work.image, hints), work, instance.size, label=instance.label)
    if drawn is None or mask_iou(drawn, instance) <= _LEAST_IOU:
        return instance
    # Colours are a hint, no proof: the outline stays as uncertain as it was.
    return replace(instance, box=drawn.box, crop=drawn.crop, source=f"{instance.source}+grabcut")


def _cut(image: NDArray[np.uint8], hints: _Hints) -> Mask:
    """(h, w) bool: what GrabCut takes for the object, small specks of it dropped; empty where it finds none."""
    maybe = hints.copy()
    objects = np.isin(maybe, (_OBJECT, _MAYBE_OBJECT))
    if not objects.any() or objects.all():
        return objects
    cv2.setRNGSeed(0)  # the first guess of the colour models is random; the generator is this thread's own
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), maybe, (0, 0, 0, 0), *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = np.isin(maybe, (_OBJECT, _MAYBE_OBJECT)).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= 0.05 * max(1, int(np.count_nonzero(found)))
    large[0] = False
    return np.asarray(large[labels], dtype=np.bool_)


def _grow(image: NDArray[np.uint8], seeds: list[tuple[int, int]], barred: list[tuple[int, int]]) -> Mask:
    """The region of similar colour around `seeds`, (x, y): grown with rising tolerance to just before it spills over.

    A spill is a step after which the region is more than twice as large, covers more than 40 %, or holds a barred point.
    """
    smooth = np.asarray(cv2.cvtColor(cv2.bilateralFilter(image, 5, 30, 3), cv2.COLOR_RGB2LAB), dtype=np.uint8)
    best = _flooded(smooth, seeds, _TOLERANCES[0])
    for tolerance in _TOLERANCES[1:]:
        region = _flooded(smooth, seeds, tolerance)
        spilt = np.count_nonzero(region) > _MOST_OF_PHOTO * region.size or any(region[y, x] for x, y in barred)
        grown_twofold = np.count_nonzero(region) > 2 * np.count_nonzero(best)
        if spilt or (grown_twofold and np.count_nonzero(best) > 0.005 * region.size):
            break
        best = region
    return best


def _flooded(lab: NDArray[np.uint8], seeds: list[tuple[int, int]], tolerance: int) -> Mask:
    """What is connected to a seed and within `tolerance` of its colour in each Lab channel; gaps closed."""
    height, width = lab.shape[:2]
    flood = np.zeros((height + 2, width + 2), np.uint8)
    for seed in seeds:
        step = (tolerance * 2, tolerance, tolerance)  # lightness varies more over one object than colour does
        flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
        cv2.floodFill(lab, flood, seed, 0, step, step, flags)
    inner = np.ascontiguousarray(flood[1:-1, 1:-1])  # OpenCV marks the border around it
    closed = cv2.morphologyEx(inner, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    return close_small_gaps(closed > 0, 0.2)


def _holding(cut: Mask, seeds: list[tuple[int, int]]) -> Mask:
    """The connected parts of `cut` that hold a seed."""
    _, labels = cv2.connectedComponents(cut.astype(np.uint8), connectivity=8)
    return np.isin(labels, [labels[y, x] for x, y in seeds if labels[y, x]])


def _thickened(region: Mask, share: float) -> Mask:
    radius = max(2, round(share * float(np.sqrt(np.count_nonzero(region)))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(region.astype(np.uint8), kernel) > 0


def _crop(pixels: Pixels, box: Box) -> _Work:
    x0, y0, x1, y1 = box
    scale = min(1.0, _WORK_SIDE / max(x1 - x0, y1 - y0))
    size = max(1, round((y1 - y0) * scale)), max(1, round((x1 - x0) * scale))
    return _Work(np.ascontiguousarray(as_uint8(resize(pixels[y0:y1, x0:x1], size))), box)


def _at_work_scale(instance: Instance, work: _Work) -> NDArray[np.uint8]:
    """(h, w) uint8, 1 = object: the instance's mask inside the working crop."""
    x0, y0, x1, y1 = work.box
    left, top, right, bottom = instance.box
    covered = np.zeros((y1 - y0, x1 - x0), np.uint8)
    covered[top - y0 : bottom - y0, left - x0 : right - x0] = instance.crop
    height, width = work.image.shape[:2]
    return np.asarray(cv2.resize(covered * 255, (width, height), interpolation=cv2.INTER_AREA) > 127, dtype=np.uint8)


def _draw(cut: Mask, work: _Work, size: tuple[int, int], *, label: str) -> Instance | None:
    """A mask at working scale as an instance at photo scale, its stairs smoothed where it grows."""
    x0, y0, x1, y1 = work.box
    soft: FloatMap = cut.astype(np.float32) - np.float32(0.5)
    if soft.shape != (y1 - y0, x1 - x0):
        soft = np.asarray(cv2.GaussianBlur(soft, (3, 3), 0.8), dtype=np.float32)
    found = positive_crop(soft, (y1 - y0, x1 - x0))
    if found is None:
        return None
    crop, (left, top) = found
    error = 0.5 / min(work.scale)
    return Instance.from_crop(
        close_small_gaps(crop), (x0 + left, y0 + top), size, label=label, boundary_error=error, source="grabcut"
    )


def _within(instance: Instance, box: Box) -> Instance | None:
    """The part of an instance that lies inside `box`."""
    x0, y0 = max(instance.box[0], box[0]), max(instance.box[1], box[1])
    x1, y1 = min(instance.box[2], box[2]), min(instance.box[3], box[3])
    left, top = instance.box[:2]
    part = instance.crop[y0 - top : max(y0, y1) - top, x0 - left : max(x0, x1) - left]
    return Instance.from_crop(
        part,
        (x0, y0),
        instance.size,
        label=instance.label,
        score=instance.score,
        boundary_error=instance.boundary_error,
        source=instance.source,
    )


def _grown(box: Box, share: float, size: tuple[int, int]) -> Box:
    x0, y0, x1, y1 = box
    across, down = max(4, round(share * (x1 - x0))), max(4, round(share * (y1 - y0)))
    return max(0, x0 - across), max(0, y0 - down), min(size[1], x1 + across), min(size[0], y1 + down)


def _clipped(box: Box, size: tuple[int, int]) -> Box:
    return max(0, box[0]), max(0, box[1]), min(size[1], box[2]), min(size[0], box[3])


def _size(pixels: Pixels) -> tuple[int, int]:
    return pixels.shape[0], pixels.shape[1]
