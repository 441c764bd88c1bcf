"""Datasets without an object: annotations in and out, and photos and labels edited together.

`coco`, `voc` and `yolo` read and write annotation files, `surgery` says what becomes of labels around a hole, `run` takes whole
datasets through a `Remover`, `editor` makes each photo of a result, and `RemoveObjects` does the same to one sample, as a transform of
a training pipeline.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from objremove.errors import DatasetError

if TYPE_CHECKING:
    from objremove.dataset.coco import CocoDataset
    from objremove.dataset.sample import Annotation, Sample
    from objremove.dataset.transform import RemoveObjects
    from objremove.dataset.voc import VocDataset
    from objremove.dataset.yolo import YoloDataset

__all__ = ["Annotation", "CocoDataset", "DatasetError", "RemoveObjects", "Sample", "VocDataset", "YoloDataset"]

_ROOMS = {
    "Annotation": "sample",
    "CocoDataset": "coco",
    "RemoveObjects": "transform",
    "Sample": "sample",
    "VocDataset": "voc",
    "YoloDataset": "yolo",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value
