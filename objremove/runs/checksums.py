"""Whether a file is what it was: size, time of change, SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any


def fingerprint(path: Path, *, digest: bool = True) -> dict[str, Any] | None:
    """Size, time of change and, unless it is not asked for, SHA-256 of a photo; None where it is not there."""
    try:
        state = path.stat()
        known = {"sha256": file_digest(path)} if digest else {}
    except OSError:
        return None
    return {"size": state.st_size, "mtime_ns": state.st_mtime_ns, **known}


def is_same(path: Path, known: tuple[int, int, str | None]) -> bool:
    """Whether a photo is what it was; one that was only touched is, one that cannot be read is not."""
    size, changed, digest = known
    now = fingerprint(path, digest=False)
    if now is None or now["size"] != size:
        return False
    return bool(now["mtime_ns"] == changed) or (digest is not None and has_digest(path, digest))


def has_digest(path: Path, digest: str) -> bool:
    """Whether a file has this SHA-256; one that cannot be read has not."""
    try:
        return file_digest(path) == digest
    except OSError:
        return False


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums(data: bytes) -> dict[str, Any]:
    """Size and SHA-256 of a file that is still to be written."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
