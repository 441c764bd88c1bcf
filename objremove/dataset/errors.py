"""The one error of this room."""

from __future__ import annotations

from objremove.errors import ObjRemoveError


class DatasetError(ObjRemoveError):
    """Annotations cannot be read or written: a broken file, a missing folder, a mask of another size than its photo."""
