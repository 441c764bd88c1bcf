"""Remove objects from photos by naming them; every pixel that was not removed stays exactly as it was.

>>> import objremove
>>> result = objremove.remove("photo.jpg", "person,car")
>>> result.save("photo.removed.jpg")

>>> remover = objremove.Remover(segmenter="deeplabv3_resnet101", inpainter="big-lama")   # loads once
>>> for result in remover.map(photos, "person", keep="largest"):
...     result.image, result.mask, result.instances
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from objremove.errors import ModelError, ObjRemoveError, PhotoError, UsageError
    from objremove.instances import Instance
    from objremove.photo import Photo
    from objremove.remover import Remover, remove
    from objremove.result import Result

__version__ = "0.1.0"

__all__ = [
    "Instance",
    "ModelError",
    "ObjRemoveError",
    "Photo",
    "PhotoError",
    "Remover",
    "Result",
    "UsageError",
    "remove",
]

_ROOMS = {
    "Instance": "instances",
    "ModelError": "errors",
    "ObjRemoveError": "errors",
    "Photo": "photo",
    "PhotoError": "errors",
    "Remover": "remover",
    "Result": "result",
    "UsageError": "errors",
    "remove": "remover",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import objremove` itself loads neither torch nor OpenCV."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value
