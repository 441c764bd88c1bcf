"""Which photos a folder run works on, and what it will write: settled, and checked, before anything is written.

A folder is walked in order, its tree mirrored in the output. What no one means when he says "my photos" (hidden files, thumbnails'
databases, sidecars, results of this program) is passed over; what he might mean but is no photo is listed as skipped, with the reason.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from objremove.errors import NoFileError, PhotoError, UsageError
from objremove.runs.layout import STATE, Item, Layout
from objremove.runs.names import OWN, PHOTO_SUFFIXES, is_junk, is_junk_folder, made_from

_LINKED_FOLDER = "a link to a folder is not followed"


@dataclass(frozen=True)
class Skipped:
    """A file that was met and is not worked on."""

    source: Path
    name: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a run works on."""

    items: tuple[Item, ...]
    skipped: tuple[Skipped, ...] = ()


def make_plan(
    sources: Sequence[str],
    layout: Layout,
    *,
    listed: Iterable[str] = (),
    recursive: bool = True,
    watched: bool = False,
    folders: Collection[str] | None = None,
) -> Plan:
    """The plan for folders, files, glob patterns and listed paths.

    One folder's contents go straight into the output; of several folders each keeps its name there. A pattern's matches keep their place
    below its fixed part, listed paths the path that they are listed with (without the root of an absolute one), files their name.

    Args:
        sources: folders, files, and patterns (with `*`, `?`, `[`; `**` is any number of folders).
        layout: where results go.
        listed: paths, one by one.
        recursive: folders within folders, too.
        watched: photos come and go, and folders, too: that none is there is no error, nor do two that would write one file end it all;
            see `collisions`.
        folders: those of the sources that are folders, or were when somebody looked first; None: as it is now.

    Raises:
        NoFileError: no such file or folder; no photo in any of them.
        UsageError: two photos would write one file, or one of them would be overwritten.
    """
    if folders is None:
        folders = [source for source in sources if os.path.isdir(source)]
    met: list[Skipped] = []
    for source in sources:
        root = Path(source)
        is_there = os.path.exists(source)
        if not is_there and not watched and (source in folders or not glob.has_magic(source)):
            raise NoFileError(f"{source}: no such file or folder")
        if source in folders:
            prefix = f"{root.resolve().name}/" if len(folders) > 1 else ""
            met += _walk(root, layout.output, prefix, recursive) if is_there else ()
        elif is_there or not glob.has_magic(source):
            met.append(Skipped(root, root.name, ""))
        else:
            met += _matches(source, layout.output)
    met += [Skipped(Path(path), _listed_name(path), "") for path in listed]
    unique = {(one.source, one.name): one for one in met}.values()
    plan = Plan(
        tuple(layout.item(one.source, one.name) for one in unique if not one.reason),
        tuple(one for one in unique if one.reason),
    )
    if watched:
        return plan
    if not plan.items:
        raise NoFileError(f"{', '.join(sources) or 'the list'}: no photo is there")
    for _, reason in collisions(plan.items):
        raise UsageError(reason)
    return plan


def _walk(root: Path, output: Path, prefix: str, recursive: bool) -> Iterator[Skipped]:
    """The files of a tree; those without a reason to skip them are photos."""
    inside, avoid = root.resolve(), output.resolve()
    if inside == avoid:
        raise UsageError(f"{root} is the output, too: name another --output")
    closed: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=closed.append):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = sorted(
            name for name in folders if recursive and name not in links and not _is_foreign(here / name, avoid)
        )
        for name in sorted(links):
            if not is_junk(name):
                yield _skipped(here / name, root, prefix, _LINKED_FOLDER)
        beside = {Path(name).stem for name in files}
        for name in sorted(files):
            reason = _reason(here / name, beside, inside)
            if reason is not None:
                yield _skipped(here / name, root, prefix, reason)
    for error in closed:
        reason = f"cannot be looked into: {error.strerror}"
        if Path(error.filename) == root:
            raise PhotoError(f"{root}: {reason}")
        yield _skipped(Path(error.filename), root, prefix, reason)


def _is_foreign(folder: Path, output: Path) -> bool:
    """Whether a folder holds no photos of one's own: hidden, the system's, or results of this program."""
    return is_junk_folder(folder.name) or os.path.isdir(folder / STATE) or folder.resolve() == output


def _reason(path: Path, beside: set[str], root: Path) -> str | None:
    """Why a file is skipped, the files `beside` it having those stems; empty for a photo, None for what is passed over without a word."""
    if is_junk(path.name):
        return None
    if made_from(path.stem, beside):
        return OWN
    if path.is_symlink():
        try:
            if not path.resolve().is_relative_to(root):
                return "a link that leads out of the folder is not followed"
        except (OSError, RuntimeError):  # the latter up to Python 3.12
            return "a link that leads in a circle"
    if path.suffix.lower() not in PHOTO_SUFFIXES:
        return "no photo by its name"
    return "" if path.is_file() else "no regular file"


def _skipped(path: Path, root: Path, prefix: str, reason: str) -> Skipped:
    return Skipped(path, prefix + path.relative_to(root).as_posix(), reason)


def _matches(pattern: str, output: Path) -> Iterator[Skipped]:
    """The photos that a pattern matches, named by their place below its fixed part; of folders below that part as `_walk`."""
    parts = Path(pattern).parts
    fixed = Path(*parts[: _fixed(parts)])
    inside, avoid = fixed.resolve(), output.resolve()
    stems_in = cache(lambda folder: {Path(name).stem for name in os.listdir(folder)})
    is_foreign = cache(lambda folder: _is_foreign(folder, avoid))
    is_link = cache(Path.is_symlink)
    for path in map(Path, sorted(glob.glob(pattern, recursive=True))):
        between = [folder for folder in path.parents if fixed in folder.parents]
        if path.is_dir() or any(map(is_foreign, between)) or Path(os.path.realpath(path)).is_relative_to(avoid):
            continue
        if links := [folder for folder in between if is_link(folder)]:
            yield _skipped(links[-1], fixed, "", _LINKED_FOLDER)
            continue
        reason = _reason(path, stems_in(path.parent), inside)
        if reason is not None:
            yield _skipped(path, fixed, "", reason)


def _fixed(parts: Sequence[str]) -> int:
    """How many leading parts of a pattern are no pattern."""
    return next((at for at, part in enumerate(parts) if glob.has_magic(part)), len(parts))


def _listed_name(path: str) -> str:
    """As it is written; absolute paths and such as leave the working folder from the root of the disk, without that root."""
    plain = os.path.normpath(path)
    if os.path.isabs(plain) or plain.startswith(".."):
        plain = os.path.relpath(os.path.abspath(plain), Path(os.path.abspath(plain)).anchor)
    return Path(plain).as_posix()


def collisions(items: Iterable[Item]) -> Iterator[tuple[Item, str]]:
    """The photos that would write over a photo, or over a file of one before them, and why they cannot."""
    items = list(items)
    sources = {os.path.realpath(item.source) for item in items}
    writers: dict[str, Item] = {}
    for item in items:
        files = {os.path.realpath(path): path for path in item.files}
        if taken := [path for real, path in files.items() if real in sources]:
            yield item, f"{item.source} would write {taken[0]}, which is itself a photo: name another --output"
        elif both := [real for real in files if real in writers]:
            other = writers[both[0]].source
            yield item, f"{other} and {item.source} would both write {files[both[0]]}: run them apart"
        else:
            writers.update(dict.fromkeys(files, item))


def read_list(data: bytes) -> list[str]:
    """The paths of a list, one a line; empty lines and, as in rsync's lists, lines that begin with `#` are passed over.

    Lines may end in CR LF. Where there are NULs, as of `find -print0`, they end the paths, and a `#` is part of a name. Names that are
    no UTF-8 are names, too.
    """
    text = data.decode(errors="surrogateescape").removeprefix("\ufeff")
    if "\0" in text:
        return [path for path in text.split("\0") if path.strip()]
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return [line for line in lines if line.strip() and not line.startswith("#")]
