"""Segmenters and inpainters of third parties, found by their entry points.

A package adds one with an entry point in the group `objremove.segmenters` or `objremove.inpainters`: its name is what users
type, and it refers to a callable `(device: torch.device, dtype: torch.dtype)` that returns the object.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, TypeVar

from objremove.errors import ModelError

if TYPE_CHECKING:
    import torch

SEGMENTERS = "objremove.segmenters"
INPAINTERS = "objremove.inpainters"

T = TypeVar("T")


def names(group: str) -> tuple[str, ...]:
    """Names that installed packages add to a group."""
    return tuple(sorted({point.name for point in entry_points(group=group)}))


def load(group: str, name: str, protocol: type[T], *, device: torch.device, dtype: torch.dtype) -> T:
    """Make the plug-in `name` of a group.

    Raises:
        ModelError: it cannot be loaded, or what it makes doesn't follow the protocol.
    """
    point = next(point for point in entry_points(group=group) if point.name == name)
    try:
        made = point.load()(device, dtype)
    except Exception as error:
        raise ModelError(f"plug-in {name!r} ({point.value}) could not be loaded: {error}") from error
    if not isinstance(made, protocol):
        raise ModelError(
            f"plug-in {name!r} ({point.value}) gives no {protocol.__name__}: see objremove's documentation"
        )
    return made
