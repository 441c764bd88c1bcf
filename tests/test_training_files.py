"""Photos and labels as they are stored: palettes, tars read where they lie, what is damaged, and what is judged and not trained on."""

from __future__ import annotations

import io
import tarfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("lightning")

from objremove.classes import VOC
from objremove.cli.train import _libraries
from objremove.errors import PhotoError, UsageError
from objremove.training import files
from objremove.training.config import DataConfig
from objremove.training.files import TarPart, read_labels, read_records
from objremove.training.library import PhotoLibrary


def png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


def encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def palette_png(labels: np.ndarray) -> bytes:
    """As VOC stores its labels: an index into colours, of which 1 is dark red."""
    picture = Image.fromarray(labels)
    picture.putpalette([value for index in range(256) for value in (128 * (index & 1), 64 * (index & 2), index)])
    return encoded(picture)


def tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


PHOTO = png(np.full((8, 10, 3), 200, np.uint8))


def four_bits() -> bytes:
    """The beginning of a grey PNG of 4 bits: the header says so, and no reader comes as far as the rest."""
    whole = png(np.array([[0, 1]], np.uint8))
    header = whole[12:24] + b"\x04" + whole[25:29]
    return whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:]


def test_labels_in_a_palette_are_its_indices(tmp_path: Path) -> None:
    labels = np.zeros((8, 10), np.uint8)
    labels[:4], labels[4, :5], labels[7] = VOC.index("boat"), VOC.index("tv"), 255
    for name, content in (("grey", png(labels)), ("palette", palette_png(labels))):
        records = read_records([tar(tmp_path / f"{name}.tar", {"a.png": PHOTO, "a.seg.png": content})])
        assert records[0].classes == (VOC.index("boat"), VOC.index("tv"))
        assert np.array_equal(PhotoLibrary(records).labels(0), labels)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png(np.full((8, 10), 21, np.uint8)), "labels of a hold the value 21: give VOC class indices"),
        (palette_png(np.full((8, 10), 254, np.uint8)), "labels of a hold the value 254"),
        (PHOTO, "labels of a are no 8-bit grey"),
        (encoded(Image.fromarray(np.array([[0, 1]], np.uint8) > 0)), "labels of a are no 8-bit grey"),
        (four_bits(), "labels of a are no 8-bit grey"),
        (png(np.arange(64, dtype=np.uint8).reshape(8, 8))[:60], "labels of a cannot be decoded"),
        (b"", "labels of a cannot be decoded"),
    ],
    ids=["grey", "palette", "colours", "one bit", "four bits", "cut", "empty"],
)
def test_labels_that_are_no_classes_are_refused(content: bytes, reason: str) -> None:
    with pytest.raises(PhotoError, match=reason):
        read_labels(content, "a")


def test_tars_are_read_where_they_lie(tmp_path: Path) -> None:
    members = {
        f"{name}{suffix}": PHOTO if suffix == ".png" else b'{"classes": ["dog"]}'
        for name in "ab"
        for suffix in (".png", ".json")
    }
    plain = read_records([tar(tmp_path / "plain.tar", members)])
    assert all(isinstance(record.photo, TarPart) for record in plain)
    packed = read_records([tar(tmp_path / "packed.tar", members, "w:gz")])
    for records in (plain, packed):
        assert [(record.key, record.classes) for record in records] == [("a", (12,)), ("b", (12,))]
        assert PhotoLibrary(records).photo(1).shape == (8, 10, 3)
    whole = (tmp_path / "plain.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: 512 + 20])
    (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "packed.tar").read_bytes()[:60])
    for name in ("cut.tar", "cut.tar.gz"):
        with pytest.raises(PhotoError, match=f"{name} is no whole tar file"):
            read_records([tmp_path / name])
    (tmp_path / "plain.tar").unlink()
    with pytest.raises(PhotoError, match=r"b cannot be read \(No such file"):
        PhotoLibrary(plain).photo(1)


def test_names_with_dots_and_hidden_ones_are_the_same_in_tars_and_folders(tmp_path: Path) -> None:
    labels = png(np.full((8, 10), 12, np.uint8))
    members = {"img.v2.png": PHOTO, "img.v2.seg.png": labels, "._img.png": b"of a Mac", "notes.txt": b"no photo"}
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in members.items():
        (folder / name).write_bytes(content)
    found = [read_records([path]) for path in (tar(tmp_path / "t.tar", members), folder)]
    assert [[(record.key, record.classes) for record in records] for records in found] == [
        [("img.v2", (12,))],
        [("img.v2.png", (12,))],
    ]


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b'{"classes": null}', b"[1]"])
def test_a_damaged_json_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PhotoError, match="the JSON of a "):
        read_records([tar(tmp_path / "t.tar", {"a.png": PHOTO, "a.json": content})])


def test_a_photo_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(PHOTO)
    records = read_records([tmp_path])

    def fail(self: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.Path, "read_bytes", fail)
    with pytest.raises(PhotoError, match=r"a\.png cannot be read \(Input/output error"):
        PhotoLibrary(records).photo(0)


def test_a_library_that_forgives_meets_what_is_damaged_where_it_is_drawn(tmp_path: Path) -> None:
    records = read_records([tar(tmp_path / "t.tar", {"a.png": PHOTO, "b.png": b"no photo", "c.png": PHOTO})])
    library = PhotoLibrary(records, memory_gb=1, forgiving=True)
    assert library.photo(2).shape == (8, 10, 3)
    with pytest.raises(PhotoError, match="photo b cannot be decoded"):
        library.photo(1)


def test_decoded_photos_never_take_more_than_their_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    read_photo = files.read_photo
    monkeypatch.setattr(
        "objremove.training.library.read_photo", lambda record: (decoded.append(record.key), read_photo(record))[1]
    )
    records = read_records([tar(tmp_path / "t.tar", {f"{index:03}.png": PHOTO for index in range(200)})])
    library = PhotoLibrary(records, memory_gb=5.5 * 240 / 1e9, threads=2)
    assert library.kept_bytes == 5 * 240
    assert len(decoded) <= 8, "no more than a few beyond it"
    assert library.photo(0) is library.photo(0)
    assert library.photo(150).shape == (8, 10, 3)


def write(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(PHOTO)
    return folder


def keys(library: PhotoLibrary | None) -> list[str]:
    return [record.key for record in library.records] if library else []


def test_what_is_judged_is_not_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = DataConfig(memory_gb=0.001)
    photos = write(tmp_path / "photos", "a.png", "b.png")
    write(photos / "held", "c.png")
    (tmp_path / "link").symlink_to(photos / "held")
    training, judges = _libraries([photos], [tmp_path / "link"], config)
    assert (keys(training), keys(judges)) == (["a.png", "b.png"], ["c.png"])

    one, two = (tar(tmp_path / f"{name}.tar", {f"{name}.png": PHOTO}) for name in ("one", "two"))
    training, judges = _libraries([one, two], [two], config)
    assert (keys(training), keys(judges)) == (["one"], ["two"])
    with pytest.raises(UsageError, match="every photo of --data is one to judge by"):
        _libraries([one], [one], config)

    tars = tmp_path / "tars"
    tars.mkdir()
    for name in ("train-0", "val-0"):
        tar(tars / f"{name}.tar", {f"{name}.png": PHOTO})
    assert [keys(library) for library in _libraries([tars], [], config)] == [["train-0"], ["val-0"]]
    assert [keys(library) for library in _libraries([photos], [tars], config)][1] == ["val-0"]
    assert [keys(library) for library in _libraries([tars / "train-0.tar"], [], config)] == [["train-0"], ["val-0"]]
    capsys.readouterr()
    assert _libraries([one], [], config)[1] is None
    assert "no photos to judge by" in capsys.readouterr().err


def test_the_room_is_one_for_all_processes_and_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, held = write(tmp_path / "a", *(f"{i}.png" for i in range(9))), write(tmp_path / "b", "x.png", "y.png")
    config = DataConfig(memory_gb=12.5 * 240 / 1e9)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # room for six each
    assert [library.kept_bytes // 240 for library in _libraries([photos], [held], config) if library] == [4, 2]
    monkeypatch.setenv("RANK", "1")  # judges nothing
    assert [library.kept_bytes // 240 for library in _libraries([photos], [held], config) if library] == [6, 0]
