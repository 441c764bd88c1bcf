"""Folders on local disks and in object stores, by fsspec: reading, listing, and files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
from fsspec.core import url_to_fs

from objremove.errors import PhotoError, UsageError
from objremove.photo import write_atomic
from objremove.runs.output import sweep

_WHOLE_PUTS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "memory"})
"""Where an object appears when its last byte has arrived. Elsewhere a draft takes the name in the end."""


class Folder:
    """A folder by its URL or path. Instances are cheap, and may be pickled: each process opens its own connection.

    Args:
        url: a path, or a URL of any fsspec protocol whose package is installed.

    Raises:
        UsageError: no such protocol, or its package is missing.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            fs, path = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{url}: {' '.join(str(error).split())}") from None
        self.path = str(path).rstrip("/") or str(path)
        self.is_local = "file" in _protocols(fs)
        if self.is_local:
            self.url = self.path  # whatever the working folder of a worker is

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "fs"}

    @cached_property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The file system, which must not answer with listings that it remembers: other workers write here, too."""
        return url_to_fs(self.url, **({} if self.is_local else {"use_listings_cache": False}))[0]

    def at(self, name: str) -> str:
        """The path of a file in it, as `fs` wants it."""
        return f"{self.path.rstrip('/')}/{name}"

    def url_of(self, path: str) -> str:
        """The URL, or local path, of what `fs` knows by `path`."""
        return path if self.is_local else str(self.fs.unstrip_protocol(path))

    # ------------------------------------------------------------------ reading

    def read(self, name: str) -> bytes:
        """A file's bytes; raises FileNotFoundError where there is none."""
        data: bytes = self.fs.cat_file(self.at(name))
        return data

    def names(self, name: str = "") -> list[str]:
        """What lies in a folder within, sorted; nothing where there is no such folder."""
        try:
            listed = self.fs.ls(self.at(name) if name else self.path, detail=False, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(path).rstrip("/").rsplit("/", 1)[-1] for path in listed)

    # ------------------------------------------------------------------ writing

    def put(self, name: str, data: bytes) -> None:
        """Write a file, all of it or nothing.

        Raises:
            PhotoError: it cannot be written.
        """
        path = self.at(name)
        if self.is_local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(Path(path), data)
            return
        try:
            if _protocols(self.fs) & _WHOLE_PUTS:
                self.fs.pipe_file(path, data)
                return
            draft = _draft(path)
            self.fs.makedirs(os.path.dirname(path), exist_ok=True)
            self.fs.pipe_file(draft, data)
            self.fs.mv(draft, path)
        except OSError as error:
            raise PhotoError(f"{path}: cannot be written: {error}") from error

    @contextmanager
    def writer(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to in pieces; it takes its name when the block ends, and not where that raises."""
        path = self.at(name)
        if not self.is_local and _protocols(self.fs) & _WHOLE_PUTS:
            file = self.fs.open(path, "wb", autocommit=False)
            with file:
                yield file
            file.commit()
            return
        draft = _draft(path)
        self.fs.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with self.fs.open(draft, "wb") as file:
                yield file
            self.fs.mv(draft, path)
        except BaseException:
            if self.fs.exists(draft):
                self.fs.rm(draft)
            raise

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""
        try:
            self.fs.rm_file(self.at(name))
        except FileNotFoundError:
            return

    def sweep(self) -> None:
        """Remove the drafts that killed workers left on a local disk; object stores show none."""
        if self.is_local:
            sweep(Path(self.path))


def _protocols(fs: fsspec.AbstractFileSystem) -> frozenset[str]:
    return frozenset([fs.protocol] if isinstance(fs.protocol, str) else fs.protocol)


def _draft(path: str) -> str:
    return f"{os.path.dirname(path)}/.{secrets.token_hex(8)}.part"
