"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from objremove.errors import PhotoError


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    The bytes go to a new file beside the target, to the disk, and then under the target's name; an existing target keeps its
    permissions, and stays as it was until the last step. A link stays a link: what it leads to is written.

    Raises:
        PhotoError: the target is a folder or a device, its folder is missing or not writable, the disk is full. Nothing is
            left behind.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise PhotoError(f"{path}: is no regular file and is not replaced; name another")
        target = path.resolve()
        draft = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            _write_synced(draft, data)
            if target.exists():
                os.chmod(draft, target.stat().st_mode & 0o7777)
            os.replace(draft, target)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        raise PhotoError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
    _sync_folder(target.parent)


def link_atomic(source: Path, target: Path) -> None:
    """Make `target` another name of the file `source`; what bore that name before is replaced.

    Raises:
        OSError: no such link can be made there; the target is as it was.
    """
    draft = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        os.link(os.path.realpath(source), draft)
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)  # two names of one file are not replaced by each other


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system can: the file is there already, and some network disks refuse this."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
