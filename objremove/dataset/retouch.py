"""One photo and its labels, in memory: what to ask a `Remover` for, and what is left of the labels afterwards."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from objremove.dataset.sample import Annotation, Key, box_iou
from objremove.instances import Instance
from objremove.remover import PhotoLike, Remover
from objremove.request import Request
from objremove.result import Result
from objremove.segmentation.base import BOX_LABEL
from objremove.types import Mask

GONE_OUTLINE, GONE_BOX = 0.5, 0.35
"""Share of an annotation's outline, or of its box, that the hole of a segmenter must cover for the annotated object to be gone: about
half of the object, and objects fill about two thirds of their boxes."""


def request_for(
    annotations: Iterable[Annotation], gone: Collection[Key], size: tuple[int, int], *, find: Sequence[str] = ()
) -> Request:
    """What a `Remover` is asked for, so that some annotated objects go and the others stay.

    Args:
        annotations: all of the photo; those without an outline that encloses something come as boxes, for the prompter to draw.
        gone: keys of those that go.
        size: (H, W) of the photo.
        find: classes, in the segmenters' words, of which the segmenter shall find more.
    """
    instances: list[Instance] = []
    spare: list[Instance] = []
    boxes: list[tuple[int, int, int, int]] = []
    for one in annotations:
        instance, box = one.instance(size), one.pixel_box(size)
        if instance is not None:
            (instances if one.key in gone else spare).append(instance)
        elif one.key in gone and box is not None:
            boxes.append(box)
    return Request(remove=list(find), boxes=boxes, instances=instances, spare=spare)


def fill(remover: Remover, photo: PhotoLike, request: Request, *, max_hole: float = 1.0) -> Result | None:
    """The photo without what the request names; None where the hole would cover more than `max_hole` (0..1) of it."""
    work = remover.start(photo, request)
    if work.hole.mask.mean() > max_hole:
        return None
    return remover.complete(work)


def as_labelled(
    instances: Iterable[Instance], annotations: Iterable[Annotation], gone: Collection[Key], size: tuple[int, int]
) -> tuple[Instance, ...]:
    """The instances; those that a prompter drew go by the label of the annotation whose box it was given."""
    asked = [(box, one.label) for one in annotations if one.key in gone and (box := one.pixel_box(size))]
    return tuple(
        replace(one, label=max(asked, key=lambda known: box_iou(known[0], one.box))[1])
        if asked and one.label == BOX_LABEL
        else one
        for one in instances
    )


def unfilled(annotations: Iterable[Annotation], gone: Collection[Key], hole: Mask) -> list[Key]:
    """Keys of those that should have gone and of which the hole has nothing: the object is still to be seen, wherever it is."""
    return [one.key for one in annotations if one.key in gone and not _share(one, hole)[0]]


def covered(annotations: Iterable[Annotation], hole: Mask) -> frozenset[Key]:
    """Keys of the annotations whose objects a hole has taken; see `GONE_OUTLINE`."""
    shares = {one.key: _share(one, hole) for one in annotations}
    return frozenset(key for key, (share, least) in shares.items() if least and share >= least)


def _share(one: Annotation, hole: Mask) -> tuple[float, float]:
    """Share of an annotation's outline, or else of its box, that a hole covers, and the least for its object to be gone; zeros where
    neither holds a pixel."""
    size = (hole.shape[0], hole.shape[1])
    instance, box = one.instance(size), one.pixel_box(size)
    if instance is not None:
        x0, y0, x1, y1 = instance.box
        return float(hole[y0:y1, x0:x1][instance.crop].mean()), GONE_OUTLINE
    if box is not None:
        x0, y0, x1, y1 = box
        return float(hole[y0:y1, x0:x1].mean()), GONE_BOX
    return 0.0, 0.0
