"""The store: where weight files lie, and whether a file is the one that it should be.

A file in the cache is accompanied by `FILE.sha256` (the line that `sha256sum` writes), the digest of the whole file recorded
when it was first found to match what its publisher states. Some publishers state only an MD5 or eight digits; the record
lets every later load be checked against the full SHA-256.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from objremove.errors import ModelError, UsageError
from objremove.models.registry import OFFICIAL_MEMBERS, REGISTRY, Model, get

HOME_VARIABLE = "OBJREMOVE_HOME"
_CHUNK = 1 << 22


class NotPublished(ModelError):
    """A file is not the one that its publisher describes; `what` differs."""

    def __init__(self, message: str, what: str) -> None:
        super().__init__(message)
        self.what = what


def cache_dir() -> Path:
    """The folder of downloaded weights: OBJREMOVE_HOME where it is set, else `objremove` in the user's cache folder."""
    home = os.environ.get(HOME_VARIABLE)
    if home:
        return Path(os.path.expanduser(home))  # which leaves the home of an unknown user as it is
    import platformdirs

    return platformdirs.user_cache_path("objremove", appauthor=False)


def embedded_dir() -> Path:
    """The folder of the weights that ship: inside an installed package, or the repository's own when run from a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "weights"


def expected_path(model: Model) -> Path:
    """Where the file of `model` lies or would lie.

    Raises:
        UsageError: the model has no weights.
    """
    if not model.needs_file:
        raise UsageError(f"model {model.name!r} has no weight file: it needs none")
    return (embedded_dir() if model.embedded else cache_dir()) / model.filename


def locate(name: str | os.PathLike[str]) -> Path | None:
    """The weight file of a model; None where it is not on this machine or the model has no weights. A path that exists is its
    own answer.

    Raises:
        UsageError: neither a model of that name nor such a file or folder is known.
    """
    if name not in REGISTRY and os.path.exists(name):
        return Path(name)
    model = get(str(name))
    if not model.needs_file:
        return None
    path = expected_path(model)
    return path if os.path.isfile(path) else None  # a folder that may not be searched has none for us


def size_of(model: Model) -> int | None:
    """Bytes of the weight file: as published, else of the file that is here, else as its publisher rounds them; None where unknown."""
    path = locate(model.name)
    return model.size or (path.stat().st_size if path is not None else model.about)


def checked_path(name: str | os.PathLike[str]) -> Path:
    """The weight file of a model, its digest checked just now: to be called before the file is deserialised.

    A user's own path is taken as it is: nothing is published that it could be held against.

    Raises:
        UsageError: as `locate`, or the model has no weights.
        ModelError: the file is not there (the message says how to get it) or is not the published one.
    """
    path = locate(name)
    if path is None:
        raise missing(get(str(name)))
    if name in REGISTRY:
        verify(path, REGISTRY[str(name)])
    return path


def missing(model: Model) -> ModelError:
    """The error for a model whose file is not on this machine, with the way to get it."""
    path = expected_path(model)
    if model.urls:
        what = f"{model.members[0]} of {model.urls[0]}" if model.members else model.urls[0]
        return ModelError(
            f"weights of {model.name!r} are not on this machine: run `objremove models pull {model.name}` with a network, "
            f"or put {what} at {path}"
        )
    return ModelError(
        f"weights of {model.name!r} are not on this machine and have no download: put your file at {path}"
    )


def verify(path: Path, model: Model) -> str:
    """The SHA-256 of the file at `path` after holding it against the size, checksum and recorded digest of `model`.

    A file that matches for the first time gets its record (`FILE.sha256`), where the folder can be written to; of a model without a
    published checksum any file is taken.

    Raises:
        ModelError: it differs, or cannot be read.
    """
    digest = check_published(path, model)
    if model.embedded or not model.checksum:  # all of it is published, or nothing that a file could be held against
        return digest
    recorded = _read_record(_record_path(path))
    if recorded is None:
        write_record(path, digest)
    elif recorded != digest:
        raise _mismatch(path, model, f"SHA-256 {digest[:16]}…, recorded {recorded[:16]}…")
    return digest


def check_published(path: Path, model: Model) -> str:
    """The SHA-256 of the file at `path` after holding it against what the publisher of `model` states.

    Raises:
        ModelError: size or checksum differ, or the file cannot be read.
    """
    kind, _, digits = (model.checksum or "sha256:").partition(":")
    try:
        size = path.stat().st_size
        if model.size is not None and size != model.size:
            raise _mismatch(path, model, f"{size:,} bytes instead of {model.size:,}")
        digests = _digests(path, ("sha256", "md5") if kind == "md5" else ("sha256",))
    except OSError as error:
        raise ModelError(f"cannot read weights {path}: {error.strerror or error}") from error
    if not digests[kind].startswith(digits):
        raise _mismatch(path, model, f"{kind} {digests[kind][:16]}…, published {digits[:16]}")
    return digests["sha256"]


def write_record(path: Path, digest: str) -> None:
    """Record the SHA-256 of a verified file beside it. A read-only folder keeps no record: the published one still holds."""
    record = _record_path(path)
    temporary = record.with_name(f"{record.name}.{os.getpid()}.part")
    try:
        temporary.write_text(f"{digest}  {path.name}\n", encoding="ascii")
        temporary.replace(record)
    except OSError:
        with suppress(OSError):
            temporary.unlink()


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    return _digests(Path(path), ("sha256",))["sha256"]


def digest(path: Path) -> str | None:
    """What weights are told apart by: the SHA-256 of a file, or of all that an official model folder is loaded from; None for others."""
    if not path.is_dir():
        return sha256(path)
    parts = [path / member for member in OFFICIAL_MEMBERS if (path / member).is_file()]
    if not parts:
        return None
    lines = "".join(f"{sha256(part)}  {part.relative_to(path).as_posix()}\n" for part in parts)
    return hashlib.sha256(lines.encode()).hexdigest()


def _digests(path: Path, kinds: tuple[str, ...]) -> dict[str, str]:
    hashes = {kind: hashlib.new(kind, usedforsecurity=kind == "sha256") for kind in kinds}
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for running in hashes.values():
                running.update(chunk)
    return {kind: running.hexdigest() for kind, running in hashes.items()}


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _read_record(record: Path) -> str | None:
    try:
        return record.read_text(encoding="ascii").split()[0]
    except (OSError, UnicodeDecodeError, IndexError):
        return None


def _mismatch(path: Path, model: Model, what: str) -> NotPublished:
    way = "reinstall objremove" if model.embedded else f"delete it and run `objremove models pull {model.name}`"
    return NotPublished(f"{path} is not the published file of {model.name!r} ({what}): {way}", what)
