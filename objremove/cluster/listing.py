"""What a driver finds in the folders, files and patterns that it is given, and what of it a run may work on."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from objremove.cluster.sources import File
from objremove.cluster.storage import Folder
from objremove.errors import PhotoError, UsageError
from objremove.folder.plan import STATE, Layout, is_junk


def find_files(inputs: Sequence[str], output: Folder, layout: Layout) -> tuple[list[File], list[tuple[str, str]]]:
    """The photos and shards of folders, files and patterns, and (name, reason) of files that are neither.

    One folder's files are named by their place in it; of several folders each puts its own name before. Hidden files and sidecars
    are passed over without a word.

    Raises:
        PhotoError: no such file or folder; nothing to work on in any of them.
        UsageError: two photos would write one file, or one of them would be written over; an input is the output.
    """
    roots = [Folder(one) for one in inputs]
    files: list[File] = []
    others: list[tuple[str, str]] = []
    for root in roots:
        if root.path == output.path and root.fs.protocol == output.fs.protocol:
            raise UsageError(f"{root.url} is the output, too: name another --output")
        for path, info, name in _listed(root, output, several=len(roots) > 1):
            file = _file(root, path, info, name)
            if is_junk(posixpath.basename(name)):
                continue
            if file.kind is None:
                others.append((name, "no photo by its name"))
            else:
                files.append(file)
    if not files:
        raise PhotoError(f"{', '.join(inputs)}: no photo, .tar or .parquet is there")
    _check_names(files, layout, output)
    return files, others


def _listed(root: Folder, output: Folder, *, several: bool) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(path, what the file system says of it, name) of each file that an input stands for."""
    fs, path = root.fs, root.path
    if any(mark in path for mark in "*?["):
        matches = fs.glob(path, detail=True)
        fixed = posixpath.dirname(path[: min(path.find(mark) for mark in "*?[" if mark in path)])
        for one in sorted(matches):
            if matches[one]["type"] == "file":
                yield one, matches[one], posixpath.relpath(one, fixed)
        return
    try:
        info = fs.info(path)
    except FileNotFoundError:
        raise PhotoError(f"{root.url}: no such file or folder") from None
    if info["type"] == "file":
        yield path, info, posixpath.basename(path)
        return
    for one, state in _walk(root, path, output):
        name = posixpath.relpath(one, path)
        yield one, state, f"{posixpath.basename(path)}/{name}" if several else name


def _walk(root: Folder, folder: str, output: Folder) -> Iterator[tuple[str, dict[str, Any]]]:
    """The files of a tree by name; not those of hidden folders, of outputs, and behind links that lead out of the tree."""
    listed = sorted(root.fs.ls(folder, detail=True), key=lambda info: str(info["name"]))
    if any(posixpath.basename(info["name"].rstrip("/")) == STATE for info in listed):
        return
    for info in listed:
        path = str(info["name"]).rstrip("/")
        if path == folder:  # object stores list a folder's own mark in it
            continue
        if info["type"] == "directory":
            if not (info.get("islink") or posixpath.basename(path).startswith(".") or path == output.path):
                yield from _walk(root, path, output)
        elif info["type"] == "file" and not (info.get("islink") and _leads_out(path, root.path)):
            yield path, info


def _leads_out(path: str, root: str) -> bool:
    return not os.path.realpath(path).startswith(os.path.realpath(root) + os.sep)


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
