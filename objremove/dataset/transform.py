"""`RemoveObjects`: takes objects out of training samples, image and labels together.

transform = v2.Compose([RemoveObjects(["person"], p=0.5), v2.RandomHorizontalFlip(), ...])   # torchvision v2
sample = RemoveObjects(["person"])(image=array, masks=masks, bboxes=boxes, labels=names)      # albumentations' shape
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import torch
from torchvision.transforms import v2

from objremove.classes import COCO
from objremove.dataset.parts import BoxFormat, Parts, bare_image, image_size, like_image, replaced
from objremove.dataset.retouch import fill, request_for, unfilled
from objremove.dataset.sample import Annotation, decode, encode
from objremove.dataset.surgery import MIN_VISIBLE, operate
from objremove.dataset.voc_masks import CLASSES as VOC_CLASSES
from objremove.dataset.vocabulary import canonical, for_segmenter, resolve
from objremove.errors import UsageError
from objremove.remover import Remover
from objremove.request import Request

Names = Literal["coco", "voc"] | Sequence[str] | Mapping[int, str]

_NAMED: Final[dict[str, dict[int, str]]] = {"coco": COCO, "voc": dict(enumerate(VOC_CLASSES))}


class RemoveObjects(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Remove every object of some classes from a sample, and its labels with it.

    A sample is any nesting of dicts, lists and tuples that holds

    * an image: `tv_tensors.Image`, PIL, or a plain (C, H, W) tensor where there is neither of them;
    * `tv_tensors.BoundingBoxes` in any format, `tv_tensors.Mask` of shape (N, H, W), or both;
    * under the key `labels`, a tensor, array or list of N class numbers or names.

    Called with keywords, `t(image=, masks=, bboxes=, labels=)`, it takes arrays as albumentations does: `image` (H, W, C) in RGB
    order, `masks` (N, H, W) or a list of (H, W), `bboxes` N rows of four numbers (further ones are kept), and returns a dict of
    the same keys.

    Objects that have a mask are cut out by it, those that have only a box by the prompter (SAM, or else GrabCut). Where a
    sample has neither masks nor boxes, the segmenter looks for the classes. Neighbours that the hole took a part of keep
    the rest, see `objremove.dataset.surgery`. A sample without the classes is passed on as it is, and so is one with an object of them
    of which nothing could be filled, for neither its mask nor its box holds a pixel.

    Whether a sample is edited is drawn from torch's generator, so `torch.manual_seed` and `DataLoader(generator=)` decide it.
    Models are loaded at first need, once for each process; in a worker of a `DataLoader` they use one thread.

    Args:
        classes: names, with the aliases and in the grammar of `objremove.dataset.vocabulary`, or numbers as in `labels`.
        p: probability, 0..1, that a sample is edited.
        names: what numbers in `labels` mean: `coco` (category ids, 1 is person), `voc` (15 is person), a list, or a mapping.
        min_visible: a neighbour of which less than this share is left loses its label.
        max_hole: a sample of which a larger share than this would be filled is passed on as it is.
        bbox_format: of `bboxes` in albumentations' shape, by albumentations' names.
        labels: key of the labels.
        also: further keys beside the labels with one entry for each object, which lose those of objects that go.
        **remover: options of `objremove.Remover`, such as `inpainter="big-lama"`.

    Raises:
        UsageError: a class that `names` has not, options that mean nothing; and from a call: parts of different lengths.
    """

    def __init__(
        self,
        classes: str | int | Iterable[str | int],
        p: float = 0.5,
        *,
        names: Names = "coco",
        min_visible: float = MIN_VISIBLE,
        max_hole: float = 0.5,
        bbox_format: BoxFormat = "pascal_voc",
        labels: str = "labels",
        also: Collection[str] = ("area", "iscrowd"),
        **remover: Any,
    ) -> None:
        super().__init__()
        for name, share in (("p", p), ("min_visible", min_visible), ("max_hole", max_hole)):
            if not 0 <= share <= 1:
                raise UsageError(f"{name}={share}: take a number from 0 to 1")
        if bbox_format not in ("pascal_voc", "coco", "yolo", "albumentations"):
            raise UsageError(f"bbox_format={bbox_format!r}: take pascal_voc, coco, yolo or albumentations")
        Remover(**remover)  # what is wrong with them is said here, and not in a worker an hour later
        self.classes = [classes] if isinstance(classes, str | int) else list(classes)
        self.p, self.min_visible, self.max_hole, self.bbox_format = p, min_visible, max_hole, bbox_format
        self.labels, self.also = labels, tuple(also)
        self._names = _by_number(names)
        words = [one for one in self.classes if isinstance(one, str)]
        numbers = [one for one in self.classes if not isinstance(one, str)]
        if not self.classes:
            raise UsageError("no classes were named")
        known = tuple(self._names.values())
        self._gone = {*(resolve(words, known) if words else ()), *(self._names.get(one, str(one)) for one in numbers)}
        self._options = remover
        self._remover: tuple[int, Remover] | None = None

    def forward(self, *sample: Any, **named: Any) -> Any:
        """The sample, edited with probability `p`; the same nesting."""
        if bool(sample) == bool(named):
            raise UsageError("give one sample, or keywords as in t(image=..., masks=..., bboxes=..., labels=...)")
        whole = named or (sample if len(sample) > 1 else sample[0])
        if torch.rand(()) >= self.p:
            return whole
        parts = self._named_parts(named) if named else self._found_parts(whole)
        edited = self._edited(parts)
        return whole if edited is None else replaced(whole, edited)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"classes={self.classes}, p={self.p}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_remover": None}

    # ------------------------------------------------------------------ what a sample holds

    def _found_parts(self, sample: Any) -> Parts:
        parts = Parts(self.labels, self.also)
        parts.collect(sample)
        return parts

    def _named_parts(self, named: Mapping[str, Any]) -> Parts:
        parts = Parts(
            self.labels, self.also, image=named.get("image"), boxes=named.get("bboxes"), masks=named.get("masks")
        )
        if named.get("mask") is not None:
            raise UsageError(
                "mask= is one picture of many objects and cannot lose one: give masks=, one for each object"
            )
        parts.box_format = self.bbox_format
        parts.labels = named.get(self.labels)
        parts.others = [named[key] for key in self.also if named.get(key) is not None]
        return parts

    # ------------------------------------------------------------------ the work

    def _edited(self, parts: Parts) -> dict[int, Any] | None:
        """What takes the place of each part, by its identity; None where nothing goes."""
        if parts.image is None:
            raise UsageError("the sample has no image")
        photo, size = bare_image(parts.image), image_size(parts.image)
        if parts.boxes is None and parts.masks is None:
            request = Request(remove=list(for_segmenter(sorted(self._gone)).values()))
            result = fill(self._ready(), photo, request, max_hole=self.max_hole)
            return (
                None
                if result is None or not result.changed
                else {id(parts.image): like_image(parts.image, result.image)}
            )
        annotations = self._annotations(parts, size)
        gone = {one.key for one in annotations if self._is_named(one)}
        if not gone:
            return None
        result = fill(self._ready(), photo, request_for(annotations, gone, size), max_hole=self.max_hole)
        if result is None or unfilled(annotations, gone, result.mask):
            return None
        surgery = operate(annotations, result.mask, gone, min_visible=self.min_visible)
        keep = [one.key for one in annotations if one.key not in gone | surgery.dropped]
        changed = {int(key): change for key, change in surgery.changed.items()}
        boxes = {key: change.box for key, change in changed.items() if change.box is not None}
        masks = {key: decode(change.segmentation, size) for key, change in changed.items() if change.segmentation}
        return parts.rebuilt([int(key) for key in keep], boxes, masks, size) | {
            id(parts.image): like_image(parts.image, result.image)
        }

    def _annotations(self, parts: Parts, size: tuple[int, int]) -> list[Annotation]:
        if parts.labels is None:
            raise UsageError(f"the sample has boxes or masks and no {self.labels!r} that say what they are of")
        labels = [self._label(value) for value in parts.labels]
        boxes, masks = parts.corners(size), parts.arrays(size)
        for what, values in (("boxes", boxes), ("masks", masks)):
            if values is not None and len(values) != len(labels):
                raise UsageError(
                    f"the sample has {len(labels)} labels and {len(values)} {what}: give one for each object"
                )
        return [
            Annotation(
                key=number,
                label=label,
                box=None if boxes is None else boxes[number],
                segmentation=None if masks is None else encode(masks[number]),
            )
            for number, label in enumerate(labels)
        ]

    def _label(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        return self._names.get(int(value), str(int(value)))

    def _is_named(self, one: Annotation) -> bool:
        if one.label in self._gone or one.label in self._names.values():
            return one.label in self._gone
        meaning = canonical(one.label)  # a sample that speaks of aeroplanes where `names` has airplanes
        return meaning is not None and meaning in {canonical(label) for label in self._gone}

    def _ready(self) -> Remover:
        """This process's own remover: a worker's has one thread."""
        if self._remover is None or self._remover[0] != os.getpid():
            in_worker = torch.utils.data.get_worker_info() is not None
            self._remover = os.getpid(), Remover(**({"threads": 1} if in_worker else {}) | self._options)
        return self._remover[1]


def _by_number(names: Names) -> dict[int, str]:
    if isinstance(names, str):
        if names not in _NAMED:
            raise UsageError(f"names={names!r}: take coco, voc, a list of names, or a mapping of numbers to names")
        return _NAMED[names]
    return dict(names) if isinstance(names, Mapping) else dict(enumerate(names))
