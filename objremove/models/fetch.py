"""Fetching: the only place that uses the network, and only when a model is asked for by name.

A file is downloaded beside its place (what breaks off is gone on with), held against its size and checksum, and renamed into its
place: whatever bears the final name is whole. A lock keeps two processes from downloading the same file at once.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import filelock

from objremove.errors import ModelError, UsageError
from objremove.models.registry import Model, get
from objremove.models.store import NotPublished, check_published, expected_path, locate, missing, verify, write_record

if TYPE_CHECKING:
    from objremove.models.download import Progress

MIRROR_VARIABLE = "OBJREMOVE_MIRROR"

_CHUNK = 1 << 18
_MIB = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # no other address would help


def fetch(name: str, *, progress: Progress | None = None, offline: bool = False) -> Path:
    """The verified weight file of a model, downloaded where it is not on this machine yet.

    Addresses are tried in turn: first the file's name below the address in the environment variable OBJREMOVE_MIRROR, where
    that is set, then those of the registry.

    Args:
        name: a name of the registry.
        progress: called while bytes arrive.
        offline: never use the network.

    Raises:
        UsageError: unknown name, or a model without weights.
        ModelError: offline and not here, no address delivered the published file, or it cannot be written.
    """
    model = get(name)
    if not model.needs_file:
        raise UsageError(f"model {name!r} has no weights to fetch: it works as it is")
    path = locate(name)
    if path is None:
        if offline or not model.urls:
            raise missing(model)
        path = _download_locked(model, progress)
    verify(path, model)
    return path


def addresses(model: Model) -> tuple[str, ...]:
    """Every address of a model's file, in the order in which they are tried."""
    mirror = os.environ.get(MIRROR_VARIABLE, "").rstrip("/")
    if not mirror:
        return model.urls
    return (f"{mirror}/{model.urls[0].rsplit('/', 1)[1]}", *model.urls)


def _download_locked(model: Model, progress: Progress | None) -> Path:
    target = expected_path(model)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{target}.lock"):
            if not target.is_file():  # else another process brought it while this one waited
                _try_addresses(model, target, progress)
    except OSError as error:
        raise ModelError(f"cannot write weights to {target.parent}: {error.strerror or error}") from error
    return target


def _try_addresses(model: Model, target: Path, progress: Progress | None) -> None:
    """The first address that delivers the published file; what it or another one delivered in part is kept until one does."""
    failures: list[str] = []
    for url in addresses(model):
        try:
            _deliver(url, model, target, progress)
            _sweep(target)
            return
        except (ModelError, OSError) as error:
            if isinstance(error, OSError) and error.errno in _FULL:
                raise
            what = error.what if isinstance(error, NotPublished) else str(error)
            failures.append(f"{_without_password(url)}: {what}")
    raise ModelError(f"no address delivered the published weights of {model.name!r}: {'; '.join(failures)}")


def _without_password(url: str) -> str:
    """The address as it may be shown: without a name and password in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is none"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _deliver(url: str, model: Model, target: Path, progress: Progress | None) -> None:
    """Receive, check and publish; once more from the start where what an earlier download left was the beginning of another file."""
    from objremove.models.download import BrokenOff, receive

    name = hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
    received = target.parent / f"{_scratch_prefix(target)}{name}"
    went_on = received.exists()
    try:
        receive(url, received, _most(model), progress)
        with _scratch(target) as folder:
            kept = _unpacked(received, model, folder) if model.members else {target: received}
            digest = check_published(kept[target], model)
            _publish(kept, target)
    except (BrokenOff, OSError):  # what came is well
        raise
    except ModelError:
        received.unlink(missing_ok=True)
        if not went_on:
            raise
        _deliver(url, model, target, progress)
        return
    write_record(target, digest)


def _most(model: Model) -> int | None:
    """Bytes that a download may have: some more than the file that is kept, for archives hold others beside it."""
    known = model.size or model.about
    return known and round(1.25 * known) + _MIB


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A folder on the same file system as the target, so that publishing is a rename; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=_scratch_prefix(target), dir=target.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _scratch_prefix(target: Path) -> str:
    return f".fetch-{target.name}-"


def _sweep(target: Path) -> None:
    """Remove what earlier downloads left."""
    for left in target.parent.glob(f"{_scratch_prefix(target)}*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _unpacked(archive: Path, model: Model, folder: Path) -> dict[Path, Path]:
    """As `_unpack`; whatever is wrong with the archive is a `ModelError`."""
    try:
        return _unpack(archive, model, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise ModelError(" ".join(str(error).split())[:200] or type(error).__name__) from error


def _unpack(archive: Path, model: Model, folder: Path) -> dict[Path, Path]:
    """The kept members of a zip, extracted below `folder`: final path to extracted file. Nothing else is written."""
    root = expected_path(model)
    for _ in Path(model.members[0]).parts:
        root = root.parent
    kept: dict[Path, Path] = {}
    with zipfile.ZipFile(archive) as bundle:
        for number, member in enumerate(model.members):
            inside = next((n for n in bundle.namelist() if n == member or n.endswith(f"/{member}")), None)
            if inside is None:
                raise ModelError(f"the archive has no {member}")
            extracted = folder / f"member-{number}"
            most = _most(model)
            if most is not None and bundle.getinfo(inside).file_size > most:
                raise ModelError(f"{member} in the archive has more than {most:,} bytes: it is not the file")
            with bundle.open(inside) as source, extracted.open("wb") as sink:
                shutil.copyfileobj(source, sink, _CHUNK)
            kept[root / member] = extracted
    return kept


def _publish(kept: dict[Path, Path], target: Path) -> None:
    """Flush and rename every file into its place, the weights themselves last: their presence means that all is there."""
    for final in sorted(kept, key=lambda path: path == target):
        with kept[final].open("r+b") as file:
            os.fsync(file.fileno())
        final.parent.mkdir(parents=True, exist_ok=True)
        kept[final].replace(final)
