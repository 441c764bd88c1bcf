"""What went wrong with a photo, and whether it is the photo's fault."""

from __future__ import annotations

import errno
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


def one_line(error: Exception, source: Path) -> str:
    """What went wrong in one line, without the photo's name at its beginning."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError):
        return f"{error.filename or 'file'}: {error.strerror or error}"
    return " ".join(str(error).split()).removeprefix(f"{source}: ") or type(error).__name__


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is what is behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False
