"""What every unattended run stands on: its options, its output, the names of photos and of what comes of them."""

import errno
import json
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from objremove.errors import PhotoError, UsageError
from objremove.runs import manifest
from objremove.runs.failures import is_full, one_line
from objremove.runs.layout import REPORT, Layout
from objremove.runs.manifest import FAILED, REMOVED, UNDONE, Manifest
from objremove.runs.names import is_junk, is_junk_folder
from objremove.runs.options import OPTIONS, Options, agreed, begin
from objremove.runs.output import held, opened
from objremove.runs.tally import Tally

# ------------------------------------------------------------------ options


@pytest.fixture
def output(tmp_path):
    """An output folder that is held, as one is whenever options are agreed on."""
    with held(tmp_path):
        yield tmp_path


def test_the_same_options_have_the_same_name_and_again_gives_another(output):
    options = {"remove": ("person",), "dilate": 3}
    first = begin(output, options, again=False)
    assert begin(output, {"dilate": 3, "remove": ["person"]}, again=False) == first  # as JSON has them
    assert begin(output, options, again=True) != first
    assert json.loads((output / OPTIONS).read_text()) == {"number": 2, "options": {"remove": ["person"], "dilate": 3}}


def test_other_options_are_refused_by_name(output):
    begin(output, {"dilate": 3, "seed": 0}, again=False)
    (output / REPORT).touch()
    with pytest.raises(UsageError, match=r"dilate was 3, is 4; feather was not given, is 2\)"):
        begin(output, {"dilate": 4, "seed": 0, "feather": 2}, again=False)
    begin(output, {"dilate": 4}, again=True)
    assert begin(output, {}, again=False, dry=True) == begin(output, {"dilate": 4}, again=False)


def test_options_of_a_run_that_came_to_no_photo_bind_nobody(output):
    first = begin(output, {"dilate": 3}, again=False)
    second = begin(output, {"dilate": 4}, again=False)
    assert begin(output, {"dilate": 4}, again=False) == second
    assert begin(output, {"dilate": 3}, again=False) not in (first, second)


def test_a_dry_run_leaves_no_options(tmp_path):
    begin(tmp_path, {"dilate": 4}, again=True, dry=True)
    assert not list(tmp_path.iterdir())


def test_options_survive_their_file():
    options = agreed(Options({"seed": 1}, 3), {"seed": 2}, begun=True, again=True, where="out")
    assert options == Options({"seed": 2}, 4)
    assert Options.read(options.encoded, "out") == options
    assert Options.read(options.encoded, "out").name == options.name


# ------------------------------------------------------------------ the output


def test_an_output_is_for_one_run_at_a_time(tmp_path):
    with held(tmp_path / "new"), pytest.raises(PhotoError, match="another run is at work"), held(tmp_path / "new"):
        pass
    with held(tmp_path / "new"):
        pass


def test_what_a_killed_run_left_half_written_is_gone_when_the_next_one_begins(tmp_path):
    draft = tmp_path / "deep" / ".0123456789abcdef.part"
    draft.parent.mkdir()
    draft.write_bytes(b"half")
    others = [tmp_path / "deep" / "mine.part", tmp_path / ".0123.part"]
    for other in others:
        other.write_bytes(b"whole")
    with opened(tmp_path, {}):
        assert not draft.exists()
        assert all(other.exists() for other in others)


def test_the_last_line_of_a_photo_counts_and_a_torn_one_is_none(tmp_path):
    with opened(tmp_path, {}) as report:
        report.append("a.jpg", FAILED, {"reason": "first"})
        report.append("b.jpg", REMOVED, {})
        report.append("a.jpg", REMOVED, {})
        report.append("b.jpg", UNDONE, {})
        assert len((tmp_path / REPORT).read_bytes().splitlines()) == 4
    assert [json.loads(line)["status"] for line in (tmp_path / REPORT).read_bytes().splitlines()] == [REMOVED]
    with open(tmp_path / REPORT, "ab") as file:
        file.write(b'{"photo": "c.jpg", "status"')
    known = Manifest(tmp_path, report.run)
    assert known.get("a.jpg").status == REMOVED
    assert known.get("b.jpg") is known.get("c.jpg") is None


def test_a_report_that_could_not_be_rewritten_is_rewritten_whole_the_next_time(tmp_path, monkeypatch):
    with opened(tmp_path, {}) as report:
        for status in (FAILED, REMOVED):
            for name in ("a.jpg", "b.jpg", "c.jpg"):
                report.append(name, status, {"reason": f"as long as it likes, {name}"})
        with monkeypatch.context() as full:
            full.setattr(os, "fsync", Mock(side_effect=OSError(errno.ENOSPC, "no room")))
            with pytest.raises(OSError, match="no room"):
                report.compact()
    lines = [json.loads(line) for line in (tmp_path / REPORT).read_bytes().splitlines()]
    assert [(line["photo"], line["status"]) for line in lines] == [(f"{name}.jpg", REMOVED) for name in "abc"]


def test_a_photo_is_settled_while_it_its_result_and_the_options_are_what_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "SUSPECTS", 0)
    photo, out = tmp_path / "a.jpg", tmp_path / "out"
    photo.write_bytes(b"photo")
    item = Layout(out).item(photo, "a.jpg")
    state = photo.stat()
    source = {"size": state.st_size, "mtime_ns": state.st_mtime_ns, "sha256": None}
    with opened(out, {}) as report:
        assert not report.is_settled(item)
        output = {"path": "a.jpg", "size": 6, "sha256": ""}
        report.append("a.jpg", REMOVED, {"source": source, "output": output, "files": ["a.jpg"]})
        assert not report.is_settled(item)  # the line came before the result
        item.target.write_bytes(b"result")
        assert report.is_settled(item)
        assert report.files_of(item) == {item.target}
        assert not Manifest(out, "other options").is_settled(item)
        photo.write_bytes(b"another photo")
        assert not report.is_settled(item)


# ------------------------------------------------------------------ names, counts, failures


def test_results_mirror_the_tree_of_the_photos():
    item = Layout(Path("out"), ".png", save_mask=True, compare=True).item(Path("/in/a/b.jpg"), "a/b.jpg")
    assert [path.as_posix() for path in item.files] == ["out/a/b.png", "out/a/b.mask.png", "out/a/b.compare.png"]
    assert Layout(Path("out")).item(Path("b.jpg"), "b.jpg").files == (Path("out/b.jpg"),)


@pytest.mark.parametrize("name", [".hidden", "~$b.jpg", "Thumbs.db", "a.XMP", "report.jsonl"])
def test_what_nobody_means_by_my_photos(name):
    assert is_junk(name)
    assert not is_junk(f"photo of {name}.jpg")


def test_folders_of_the_system_hold_no_photos():
    assert all(map(is_junk_folder, ("@eaDir", "#recycle", ".git", "__MACOSX")))
    assert not any(map(is_junk_folder, ("2024", "lost", "recycle", "#1")))


def test_a_tally_counts_lines_and_objects():
    tally = Tally()
    tally.count({"status": REMOVED, "removed": [{"label": "dog"}, {"label": "dog"}, {"label": "cat"}]})
    tally.count({"status": FAILED})
    more = {"label": "dog", "extends": True}
    tally.count({"status": REMOVED, "removed": [{"label": "dog", "extends": False}, more]})
    tally.count({"status": REMOVED, "removed": [more]})
    assert tally.now == {REMOVED: 3, FAILED: 1}
    assert tally.labels == {"dog": 4, "cat": 1}, "more of a dog counts with it, or for it where it went alone"


def test_a_failure_is_one_line_without_the_photos_name():
    photo = Path("a.jpg")
    assert one_line(PhotoError("a.jpg: cannot be\n decoded"), photo) == "cannot be decoded"
    assert one_line(MemoryError(), photo) == "not enough memory"
    assert one_line(OSError(errno.EACCES, "no entry", "b.jpg"), photo) == "b.jpg: no entry"
    assert one_line(RuntimeError(), photo) == "RuntimeError"


def test_a_full_disk_is_seen_behind_whatever_it_led_to():
    error = PhotoError("cannot be written")
    error.__cause__ = OSError(errno.ENOSPC, "no room")
    assert is_full(error)
    assert not is_full(PhotoError("cannot be read"))
    assert not is_full(None)
