"""What a driver finds in the folders, files and patterns that it is given, and what of it a run may work on."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from objremove.cluster.sources import File
from objremove.cluster.storage import Folder
from objremove.errors import NoFileError, UsageError
from objremove.runs.layout import STATE, Layout
from objremove.runs.names import OWN, is_junk, is_junk_folder, made_from


def find_files(inputs: Sequence[str], output: Folder, layout: Layout) -> tuple[list[File], list[tuple[str, str]]]:
    """The photos and shards of folders, files and patterns, and (name, reason) of files that are neither.

    One folder's files are named by their place in it; of several folders each puts its own name before. Hidden files and folders, the
    system's, sidecars, and results of this program are passed over without a word.

    Raises:
        NoFileError: no such file or folder; nothing to work on in any of them.
        UsageError: two photos would write one file, or one of them would be written over; an input is the output.
    """
    roots = [Folder(one) for one in inputs]
    avoid = _place(output.url_of(output.path))
    files: dict[tuple[str, str], File] = {}
    others: dict[str, str] = {}
    for root in roots:
        for path, info, name, reason in _listed(root, avoid, several=len(roots) > 1):
            if is_junk(posixpath.basename(name)):
                continue
            file = _file(root, path, info, name)
            if reason or file.kind is None:
                others[name] = reason or "no photo by its name"
            else:
                files[file.url, name] = file  # two inputs may name it
    if not files:
        raise NoFileError(f"{', '.join(inputs)}: no photo, .tar or .parquet is there")
    found = list(files.values())
    _check_names(found, layout, output)
    return found, list(others.items())


_Met = tuple[str, dict[str, Any], str, str]
"""(path, what the file system says of it, name, why it is skipped or nothing) of a file."""


def _listed(root: Folder, avoid: str, *, several: bool) -> Iterator[_Met]:
    """What an input stands for: a file, what is in a folder, or what a pattern matches; nothing in the place to `avoid`."""
    fs, path = root.fs, root.path
    try:
        info = fs.info(path)
    except (FileNotFoundError, NotADirectoryError):
        marks = [path.find(mark) for mark in "*?[" if mark in path]
        if not marks:
            raise NoFileError(f"{root.url}: no such file or folder") from None
        inside = posixpath.dirname(path[: min(marks)])
        listed, prefix = _matches(root, inside, avoid), ""
    else:
        if info["type"] == "file":
            yield path, info, posixpath.basename(path), ""
            return
        inside = path
        listed, prefix = _walk(root, path, avoid), f"{posixpath.basename(path)}/" if several else ""
    if _place(root.url_of(inside)) == avoid:
        raise UsageError(f"{root.url} is the output, too: name another --output")
    met = list(listed)
    stems = {posixpath.splitext(str(one["name"]))[0] for one in met}
    for one in met:
        path = str(one["name"])
        info, reason = _followed(one, inside)
        if made_from(posixpath.splitext(path)[0], stems):
            reason = OWN
        yield path, info, prefix + posixpath.relpath(path, inside), reason


def _walk(root: Folder, folder: str, avoid: str) -> Iterator[dict[str, Any]]:
    """The files of a tree, and the links in it, by name."""
    listed = sorted(root.fs.ls(folder, detail=True), key=lambda info: str(info["name"]))
    if folder != root.path and any(posixpath.basename(info["name"].rstrip("/")) == STATE for info in listed):
        return
    for info in listed:
        path = str(info["name"]).rstrip("/")
        if path == folder:  # object stores list a folder's own mark in it
            continue
        if info["type"] != "directory":
            yield info
        elif not _is_foreign(root, path, avoid):
            yield from _walk(root, path, avoid)


def _matches(root: Folder, inside: str, avoid: str) -> Iterator[dict[str, Any]]:
    """The files and links that a pattern matches, by name, as `_walk` would find them below the pattern's fixed part."""

    @cache
    def foreign(folder: str) -> bool:
        if len(folder) <= len(inside):
            return False
        here = _is_foreign(root, folder, avoid) or root.fs.exists(f"{folder}/{STATE}")
        return here or foreign(posixpath.dirname(folder))

    matches = root.fs.glob(root.path, detail=True)
    for path in sorted(matches):
        if matches[path]["type"] != "directory" and not foreign(posixpath.dirname(path)):
            yield matches[path]


def _is_foreign(root: Folder, folder: str, avoid: str) -> bool:
    """Whether a folder is hidden, the system's, or the output. One that holds a run's state is foreign, too: see those who ask."""
    return is_junk_folder(posixpath.basename(folder)) or _place(root.url_of(folder)) == avoid


def _followed(info: dict[str, Any], inside: str) -> tuple[dict[str, Any], str]:
    """Where a link on a local disk leads, and why it is not followed; other files as they are."""
    if info.get("islink"):
        path = str(info["name"])
        if os.path.isdir(path):
            return info, "a link to a folder is not followed"
        if not _place(path).startswith(_place(inside) + os.sep):
            return info, "a link that leads out of the folder is not followed"
        if os.path.isfile(path):
            state = os.stat(path)
            return {**info, "size": state.st_size, "mtime": state.st_mtime}, ""
    elif info["type"] == "file":
        return info, ""
    return info, "no regular file"


def _file(root: Folder, path: str, info: dict[str, Any], name: str) -> File:
    changed = info.get("mtime") or info.get("LastModified") or info.get("last_modified") or info.get("created")
    seconds = changed.timestamp() if isinstance(changed, datetime) else changed
    tag = info.get("ETag") or info.get("etag") or info.get("md5Hash") or ""
    return File(
        root.url_of(path), name, int(info["size"]), None if seconds is None else int(seconds * 1e9), str(tag).strip('"')
    )


def _check_names(files: Sequence[File], layout: Layout, output: Folder) -> None:
    """Raise UsageError where two photos would write one file, or a file of the input would be written over."""
    listed = {place for file in files for place in _with_folders(_place(file.url))}
    writers: dict[Path, str] = {}
    for file in files:
        for target in layout.item(Path(file.url), file.name).files if file.kind == "photos" else (Path(file.name),):
            url = output.url_of(output.at(target.as_posix()))
            if _place(url) in listed:
                raise UsageError(f"{file.url} would write {url}, which is itself an input: name another --output")
            other = writers.setdefault(target, file.url)
            if other != file.url:
                raise UsageError(f"{other} and {file.url} would both write {target}: run them apart")


def _place(url: str) -> str:
    """By what files are compared: their URL, or where links on a local disk lead."""
    return os.path.realpath(url) if os.path.isabs(url) else url


def _with_folders(place: str) -> Iterator[str]:
    """A place, and the folders that it lies in: what comes of a shard is a folder."""
    yield place
    yield from (str(folder) for folder in PurePosixPath(place).parents)
