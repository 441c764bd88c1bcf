"""Fetching: the only place that uses the network, and only when a model is asked for by name.

A file is downloaded beside its place, held against its size and checksum, and renamed into its place: whatever bears the
final name is whole. A lock keeps two processes from downloading the same file at once.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from objremove.errors import ModelError, UsageError
from objremove.models.registry import Model, get
from objremove.models.store import check_published, expected_path, locate, missing, verify, write_record

MIRROR_VARIABLE = "OBJREMOVE_MIRROR"
Progress = Callable[[int, int], None]
"""Called with the bytes received so far and the bytes in all (0 where the server does not say)."""

_CHUNK = 1 << 18
_TIMEOUT = 30.0  # seconds without a byte


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
            for left in target.parent.glob(f"{_scratch_prefix(target)}*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            if not target.is_file():  # else another process brought it while this one waited
                _try_addresses(model, target, progress)
    except OSError as error:
        raise ModelError(f"cannot write weights to {target.parent}: {error.strerror or error}") from error
    return target


def _try_addresses(model: Model, target: Path, progress: Progress | None) -> None:
    failures: list[str] = []
    for url in addresses(model):
        with _scratch(target) as folder:
            try:
                received = folder / "download"
                _receive(url, received, progress)
                kept = _unpack(received, model, folder) if model.members else {target: received}
                digest = check_published(kept[target], model)
            except (
                ModelError,
                zipfile.BadZipFile,
                zlib.error,
                EOFError,
                OSError,
            ) as error:  # a failed request is an OSError
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    raise
                failures.append(f"{url}: {_one_line(error)}")
                continue
            _publish(kept, target)
            write_record(target, digest)
            return
    raise ModelError(f"no address delivered the published weights of {model.name!r}: {'; '.join(failures)}")


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


def _receive(url: str, path: Path, progress: Progress | None) -> None:
    import pooch

    downloader = pooch.HTTPDownloader(
        progressbar=_Counter(progress) if progress else False, chunk_size=_CHUNK, timeout=_TIMEOUT
    )
    downloader(url, str(path), None)


class _Counter:
    """What `pooch` expects of a progress bar (the part of tqdm's interface that it calls), handed on to a plain function."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.total = 0
        self.done = 0

    def update(self, count: int) -> None:
        self.done += count  # pooch counts whole chunks, the last one too
        self.progress(min(self.done, self.total or self.done), self.total)

    def reset(self) -> None:
        """Called once before the end, to let tqdm draw a full bar; the count has been told already."""
        self.done = 0

    def close(self) -> None:
        """Nothing to close."""


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
            with bundle.open(inside) as source, extracted.open("wb") as sink:
                shutil.copyfileobj(source, sink, _CHUNK)
            kept[root / member] = extracted
    return kept


def _publish(kept: dict[Path, Path], target: Path) -> None:
    """Flush and rename every file into its place, the weights themselves last: their presence means that all is there."""
    for final in sorted(kept, key=lambda path: path == target):
        with kept[final].open("rb") as file:
            os.fsync(file.fileno())
        final.parent.mkdir(parents=True, exist_ok=True)
        kept[final].replace(final)


def _one_line(error: Exception) -> str:
    import requests

    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError) and not isinstance(error, requests.exceptions.SSLError):
        return "cannot be reached: is there a network?"
    return " ".join(str(error).split())[:200] or type(error).__name__
