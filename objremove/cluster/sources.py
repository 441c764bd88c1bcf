"""Where photos come from: folders of files, WebDataset tars, and Parquet files with a column of pictures.

The driver makes units of work of the files that `listing` finds; a worker reads the photos of a unit, one after another. A file of
photos (a shard) is one unit, for it is read from beginning to end; single photos are put together to units of equal numbers.
"""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from objremove.cluster.storage import Folder
from objremove.errors import PhotoError, UsageError
from objremove.runs.names import PHOTO_SUFFIXES, is_junk

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
PARQUET_SUFFIXES = (".parquet",)
AT_ONCE = 8
"""So many photos are asked for at a time: an object store answers them side by side."""

Kind = Literal["photos", "tar", "parquet"]


@dataclass(frozen=True)
class File:
    """A file of the input, as it was when it was listed.

    Attributes:
        url: where it is, whatever the working folder.
        name: its place in the tree, with slashes.
        size: in bytes.
        mtime_ns: its time of change; None where the store tells none.
        tag: what an object store gives for the file's contents; empty where it gives none.
    """

    url: str
    name: str
    size: int
    mtime_ns: int | None = None
    tag: str = ""

    @property
    def kind(self) -> Kind | None:
        """What it is by its name; None: nothing that is worked on."""
        name = self.name.lower()
        if name.endswith(TAR_SUFFIXES):
            return "tar"
        if name.endswith(PARQUET_SUFFIXES):
            return "parquet"
        return "photos" if name.endswith(PHOTO_SUFFIXES) else None

    @property
    def state(self) -> str:
        """A short name for how it was: another one says that it has changed."""
        return hashlib.sha256(f"{self.size} {self.mtime_ns} {self.tag}".encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Unit:
    """Work for one worker: a shard, or some single photos.

    Attributes:
        id: the same in every run while its files stay as they are.
        files: one shard, or photos.
        kind: what they are.
        stop: the number of photos after which to stop; None: where they end.
    """

    id: str
    files: tuple[File, ...]
    kind: Kind = "photos"
    stop: int | None = None

    @classmethod
    def of_shard(cls, file: File) -> Unit:
        """The unit of a file of many photos."""
        kind = file.kind
        assert kind is not None
        return cls(f"s-{hashlib.sha256(file.name.encode()).hexdigest()[:12]}-{file.state}", (file,), kind)


@dataclass(frozen=True)
class Entry:
    """One photo of a unit, read or not.

    Attributes:
        name: what the report knows it by.
        source: what the report says of where it came from.
        data: the file's bytes; None where it could not be read, or where they were not asked for.
        error: why it could not be read.
    """

    name: str
    source: dict[str, Any] = field(default_factory=dict)
    data: bytes | None = None
    error: Exception | None = None


# ---------------------------------------------------------------------- the driver's side


def photo_units(files: Sequence[File], generation: int, size: int) -> Iterator[Unit]:
    """Single photos in units of `size`, numbered within this generation of runs."""
    rest = iter(files)
    for number in range(0, len(files), size):
        yield Unit(f"p-{generation:05}-{number // size:07}", tuple(islice(rest, size)))


def count(unit: Unit, most: int) -> int:
    """How many photos a unit has, counted no further than `most`."""
    return sum(1 for _ in islice(entries(unit, None, read=lambda number: False), most))


# ---------------------------------------------------------------------- the worker's side


def entries(unit: Unit, column: str | None, read: Any) -> Iterator[Entry]:
    """The photos of a unit in order.

    What cannot be read is an entry with an error; where a whole shard is damaged, or ends too early, that is one more entry with the
    shard's own name.

    Args:
        unit: what to read.
        column: of the pictures in a Parquet file; None: the only one that can be.
        read: asked with a photo's number whether its bytes are wanted.
    """
    if unit.kind == "photos":
        yield from _photos(unit.files, read)
        return
    shard = unit.files[0]
    try:
        yield from _members(shard, read) if unit.kind == "tar" else _rows(shard, column, read)
    except Exception as error:  # whatever a decoder of damaged files raises: the shard fails alone
        yield Entry(
            shard.name, _source(shard), error=PhotoError(f"cannot be read to its end ({error}): get a fresh copy")
        )


def _source(file: File, inside: str = "") -> dict[str, Any]:
    tag = {"tag": file.tag} if file.tag else {}
    return {"path": file.url + inside, "size": file.size, "mtime_ns": file.mtime_ns, **tag}


def _photos(files: Sequence[File], read: Any) -> Iterator[Entry]:
    for start in range(0, len(files), AT_ONCE):
        group = files[start : start + AT_ONCE]
        wanted = [file for number, file in enumerate(group, start) if read(number)]
        got = _fetched(wanted)
        for file in group:
            data = got.get(file.url)
            if isinstance(data, bytes) and len(data) != file.size:
                data = PhotoError("was changed after it was listed: run again")
            if isinstance(data, Exception):
                yield Entry(file.name, _source(file), error=data)
            else:
                yield Entry(file.name, _source(file), data)


def _fetched(files: Sequence[File]) -> dict[str, bytes | Exception]:
    """Contents, or what went wrong, by URL."""
    if not files:
        return {}
    folder = Folder(files[0].url)
    paths = {Folder(file.url).path: file.url for file in files}
    got = folder.fs.cat(list(paths), on_error="return")
    return {url: got[path] for path, url in paths.items()}


def _members(shard: File, read: Any) -> Iterator[Entry]:
    """The photos in a tar; what lies beside them (captions, labels) is passed over."""
    folder = Folder(shard.url)
    number = 0
    with folder.fs.open(folder.path, "rb") as file, tarfile.open(fileobj=file, mode="r:*") as archive:
        for member in archive:
            name = posixpath.normpath(member.name)
            if not member.isfile() or not name.lower().endswith(PHOTO_SUFFIXES) or is_junk(posixpath.basename(name)):
                continue
            place, source = f"{shard.name}/{name}", {**_source(shard, f"#{member.name}"), "size": member.size}
            if name.startswith(("/", "../")):
                yield Entry(f"{shard.name}#{number}", source, error=PhotoError("its name leads out of the output"))
            else:
                picture = archive.extractfile(member) if read(number) else None
                yield Entry(place, source, None if picture is None else picture.read())
            number += 1
        # tarfile takes the end of the file for the end of the archive; what is whole has an end of its own.
        assert archive.fileobj is not None
        archive.fileobj.seek(archive.offset)
        if len(archive.fileobj.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:
            raise PhotoError("its end is missing")


def _rows(shard: File, column: str | None, read: Any) -> Iterator[Entry]:
    """The pictures of a Parquet file by the number of their row."""
    import pyarrow.parquet as pq

    folder = Folder(shard.url)
    with folder.fs.open(folder.path, "rb") as file, pq.ParquetFile(file) as table:
        if not any(map(read, range(table.metadata.num_rows))):
            for number in range(table.metadata.num_rows):
                yield Entry(*_row(shard, number))
            return
        column = column or picture_column(table.schema_arrow, shard.url)
        number = 0
        for batch in table.iter_batches(batch_size=AT_ONCE, columns=[column]):
            for value in batch.column(0):
                data = value.as_py()
                data = data.get("bytes") if isinstance(data, dict) else data
                if not data:
                    yield Entry(*_row(shard, number), error=PhotoError("no picture is in this row"))
                else:
                    yield Entry(*_row(shard, number, len(data)), data if read(number) else None)
                number += 1


def _row(shard: File, number: int, size: int = 0) -> tuple[str, dict[str, Any]]:
    return f"{shard.name}/{number:08}", {**_source(shard, f"#{number}"), "size": size}


def picture_column(schema: Any, where: str) -> str:
    """The column of a Parquet file that holds pictures: bytes, or a struct with a field `bytes`, as data sets on hubs have it.

    Raises:
        UsageError: there is none, or more than one.
    """
    import pyarrow.types as types

    def is_bytes(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    found = [
        field.name
        for field in schema
        if is_bytes(field.type)
        or (types.is_struct(field.type) and any(one.name == "bytes" and is_bytes(one.type) for one in field.type))
    ]
    if len(found) != 1:
        raise UsageError(
            f"{where}: {len(found)} columns may hold pictures ({', '.join(found or schema.names)}): say --image-column"
        )
    return str(found[0])


def check_columns(files: Iterable[File], column: str | None) -> None:
    """Raise UsageError where the first Parquet file has no such column, or none that is clear; PhotoError where it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shard = next((file for file in files if file.kind == "parquet"), None)
    if shard is None:
        return
    folder = Folder(shard.url)
    try:
        with folder.fs.open(folder.path, "rb") as file:
            schema = pq.read_schema(file)
    except (OSError, pa.ArrowException):
        return  # a damaged shard fails alone, in its worker
    if column is None:
        picture_column(schema, shard.url)
    elif column not in schema.names:
        raise UsageError(f"{shard.url}: no column {column!r}; it has {', '.join(schema.names)}")
