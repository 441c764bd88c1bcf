"""`Request`: what shall go from a photo, as one value that many photos can share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any

from PIL.Image import Image

from objremove.arguments import check
from objremove.instances import Instance
from objremove.types import AnyArray


@dataclass(frozen=True, eq=False)
class Request:
    """What shall go from a photo; what is given as an iterator is read once, here.

    Attributes:
        remove: class names, in the grammar of `objremove.targets`.
        keep: what of that shall stay, in the same grammar, or `largest`, `center`.
        points: `"x,y"`, `"x,y,-"`, (x, y) or (x, y, positive): one object for all of them.
        boxes: `"x0,y0,x1,y1"` or (x0, y0, x1, y1): one object for each.
        masks: (H, W[, C]) arrays, white removes.
        instances: objects that others found, of the photo's size: they go as if they had been found here. None: no such list;
            an empty one is a request by which nothing goes.
        spare: objects that others found and that stay: nothing that goes grows into them.
        keep_masks: (H, W[, C]) arrays, white stays: it is cut out of whatever goes, and nothing grows into it.
        dilate: growth of each object; None: as the `Remover` has it.
    """

    remove: str | int | Iterable[str | int] = ()
    keep: str | Iterable[str] = ()
    points: Iterable[Any] = ()
    boxes: Iterable[Any] = ()
    masks: Sequence[AnyArray] | Iterable[AnyArray] = ()
    instances: Iterable[Instance] | None = None
    spare: Iterable[Instance] = ()
    keep_masks: Sequence[AnyArray] | Iterable[AnyArray] = ()
    dilate: str | float | None = None

    def __post_init__(self) -> None:
        """Make iterators lists, so that every photo can read them; None is an empty list, a single text or mask a list of it."""
        for name in ("points", "boxes"):
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, [getattr(self, name)])
        for name in ("masks", "keep_masks"):
            if _is_one_mask(getattr(self, name)):
                object.__setattr__(self, name, [getattr(self, name)])
        for name in ("points", "boxes", "masks", "keep_masks", "instances", "spare"):
            check(name, getattr(self, name), Iterable, lambda value: True, "a list of them", optional=True)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Iterator):
                object.__setattr__(self, field.name, list(value))
            elif value is None and field.name not in ("instances", "dilate"):
                object.__setattr__(self, field.name, ())


def _is_one_mask(masks: Any) -> bool:
    """Whether what shall be masks is a single one: of two axes, or an array of three whose last one are channels."""
    axes, shape = getattr(masks, "ndim", None), tuple(getattr(masks, "shape", ()))
    with_channels = axes == 3 and shape[-1] <= 4 and not hasattr(masks, "detach")
    return isinstance(masks, (Image, str, bytes, PathLike)) or axes == 2 or with_channels
