"""Folder runs: what is planned, what is written, and how they go on after whatever happens."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import RED, ColourSegmenter, scene
from PIL import Image

from objremove.cli.app import run
from objremove.errors import PhotoError, UsageError
from objremove.folder import run as folder_run
from objremove.folder.plan import make_plan, read_list
from objremove.folder.watch import Settled, rounds
from objremove.result import Result
from objremove.runs import checksums
from objremove.runs import manifest as manifests
from objremove.runs.layout import Layout
from objremove.runs.manifest import Manifest
from objremove.runs.output import opened
from objremove.wording import counted


def draw(path, discs=((40, 40, 9, RED),), size=(80, 100)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene(*size, discs)).save(path)
    return path


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """photos/ with a tree of five drawn photos, one of them with nothing to remove; it is beside the working folder's `clean`."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.jpg", "deep/a.png", "deep/er/c.png"):
        draw(tmp_path / "photos" / name)
    draw(tmp_path / "photos" / "plain.png", discs=())
    return tmp_path


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """The toy segmenter under the name of the embedded one."""
    from objremove import shelf

    monkeypatch.setenv("OBJREMOVE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(shelf.segmentation, "load", lambda *args, **options: ColourSegmenter())


def remove(*arguments):
    return run(["--inpainter", "telea", "-r", "person", *map(str, arguments)])


def report(output="clean"):
    return {line["photo"]: line for line in map(json.loads, Path(output, "report.jsonl").read_text().splitlines())}


def statuses(output="clean"):
    return {name: line["status"] for name, line in report(output).items()}


def results(output="clean"):
    return sorted(
        path.relative_to(output).as_posix()
        for path in Path(output).rglob("*")
        if path.is_file() and ".objremove" not in path.parts and path.name != "report.jsonl"
    )


# ------------------------------------------------------------------ the plan


def names(plan):
    return [item.name for item in plan.items]


def test_the_tree_is_mirrored_and_junk_is_passed_over(tree):
    for name in (
        "Thumbs.db",
        ".DS_Store",
        "._a.png",
        ".hidden/x.png",
        "__MACOSX/a.png",
        "a.xmp",
        "a.removed.png",
        "a.png.orig",
    ):
        draw(tree / "photos" / "x.png").rename(tree / "junk")
        (tree / "photos" / name).parent.mkdir(exist_ok=True)
        (tree / "junk").rename(tree / "photos" / name)
    (tree / "photos" / "film.mov").write_bytes(b"moving")
    plan = make_plan(["photos"], Layout(Path("clean")))
    assert names(plan) == ["a.png", "b.jpg", "plain.png", "deep/a.png", "deep/er/c.png"]
    assert [str(item.target) for item in plan.items][3] == "clean/deep/a.png"
    assert {one.name: one.reason.split()[0] for one in plan.skipped} == {"film.mov": "no", "a.removed.png": "made"}
    assert names(make_plan(["photos"], Layout(Path("clean")), recursive=False)) == ["a.png", "b.jpg", "plain.png"]


def test_outputs_are_not_taken_for_photos(tree):
    """Neither the output of this run inside the tree, nor that of another."""
    draw(tree / "photos" / "clean" / "a.png")
    draw(tree / "photos" / "other" / "a.png")
    (tree / "photos" / "other" / ".objremove").mkdir()
    assert len(make_plan(["photos"], Layout(Path("photos/clean"))).items) == 5
    with pytest.raises(UsageError, match="output"):
        make_plan(["photos"], Layout(Path("photos")))


def test_patterns_take_what_a_walk_takes(tree):
    """No copies by file servers, no results of other runs, nothing behind a link, which may lead round in a circle."""
    photos = tree / "photos"
    for name in ("@eaDir/a.png", "deep/#recycle/a.png", "other/a.png", "clean/a.png"):
        draw(photos / name)
    (photos / "other" / ".objremove").mkdir()
    (photos / "deep" / "round").symlink_to(photos)
    layout = Layout(Path("photos/clean"))
    walked, matched = make_plan(["photos"], layout), make_plan(["photos/**"], layout)
    assert sorted(names(matched)) == sorted(names(walked))
    assert [one.name for one in matched.skipped] == ["deep/round"]
    assert names(make_plan(["photos/*/a.png"], layout)) == ["deep/a.png"]
    assert names(make_plan(["photos/other/*"], layout)) == ["a.png"]  # the pattern says so itself


def test_links_are_not_followed_out_of_the_tree(tree):
    outside = draw(tree / "outside" / "secret.png")
    photos = tree / "photos"
    (photos / "leads out.png").symlink_to(outside)
    (photos / "folder").symlink_to(tree / "outside")
    (photos / "round").symlink_to(photos)
    (photos / "inside.png").symlink_to(photos / "deep" / "a.png")
    (tree / "photos" / "circle.png").symlink_to("circle.png")
    circle = [one for one in make_plan(["photos/*.png"], Layout(Path("clean"))).skipped if one.name == "circle.png"]
    assert [one.reason for one in circle] == ["a link that leads in a circle"]
    (tree / "photos" / "circle.png").unlink()
    plan = make_plan(["photos"], Layout(Path("clean")))
    assert "inside.png" in names(plan)
    assert sorted(one.name for one in plan.skipped) == ["folder", "leads out.png", "round"]
    assert len(plan.items) == 6


def test_several_folders_patterns_and_lists(tree):
    draw(tree / "more" / "a.png")
    several = names(make_plan(["photos", "more"], Layout(Path("clean"))))
    assert several[-1] == "more/a.png"
    assert "photos/a.png" in several
    assert names(make_plan(["photos/**/a.png"], Layout(Path("clean")))) == ["a.png", "deep/a.png"]
    absolute = (tree / "photos" / "b.jpg").as_posix()
    listed = read_list(f"photos/a.png\r\n\n{absolute}".encode())
    assert names(make_plan([], Layout(Path("clean")), listed=listed)) == ["photos/a.png", absolute.lstrip("/")]
    assert read_list(b"one\0two\nlines\r\0#3\0") == ["one", "two\nlines\r", "#3"]
    assert read_list(b"# holiday\n#1.png\n./#1.png\na#1.png\n") == ["./#1.png", "a#1.png"]
    assert read_list("\ufeffa\u0085b\u2028c.png\n\x1c.png\n".encode()) == ["a\u0085b\u2028c.png", "\x1c.png"]
    with pytest.raises(PhotoError, match="no photo"):
        make_plan(["photos/*.gif"], Layout(Path("clean")))


def test_collisions_are_found_before_anything_is_written(tree, toy, capsys):
    draw(tree / "photos" / "a.jpg")
    assert remove("photos", "-o", "clean", "--format", "webp") == 2
    assert "would both write" in capsys.readouterr().err
    assert not Path("clean").exists()
    draw(tree / "clean" / "deep" / "a.png")
    assert remove("photos", "-o", "clean") == 2
    assert "no run made it" in capsys.readouterr().err
    assert results() == ["deep/a.png"]
    assert remove("photos", "-o", "clean", "--overwrite") == 0


def test_a_dry_run_says_the_plan_and_writes_nothing(tree, capsys):
    assert remove("photos", "-o", "clean", "--dry-run") == 0
    assert "photos/deep/er/c.png -> clean/deep/er/c.png" in capsys.readouterr().out
    assert not Path("clean").exists()


def test_a_dry_run_says_what_is_left_to_do(tree, toy, capsys):
    """As the run would: by the report of earlier runs, and no more than --limit."""
    assert remove("photos", "-o", "clean", "--limit", "2", "--jobs", "1") == 0
    before = {path: path.read_bytes() for path in Path("clean").rglob("*") if path.is_file()}
    for more, left in (((), 3), (("--limit", "1"), 1), (("--again",), 5), (("--again", "--dilate", "9"), 5)):
        capsys.readouterr()
        assert remove("photos", "-o", "clean", "--dry-run", *more) == 0
        out, err = capsys.readouterr()
        assert len(out.splitlines()) == left
        assert f"{counted(left, 'photo')} into clean, {0 if '--again' in more else 2} done already" in err
    assert {path: path.read_bytes() for path in Path("clean").rglob("*") if path.is_file()} == before
    assert remove("photos", "-o", "clean") == 0
    capsys.readouterr()
    assert remove("photos", "-o", "clean", "--dry-run") == 0
    assert capsys.readouterr().out == ""


def test_a_dry_run_is_refused_where_the_run_would_be(tree, toy, capsys):
    draw(tree / "clean" / "deep" / "a.png")
    assert remove("photos", "-o", "clean", "--dry-run") == 2
    assert "no run made it" in capsys.readouterr().err
    assert remove("photos", "-o", "other", "--limit", "1") == 0
    assert remove("photos", "-o", "other", "--dry-run", "--dilate", "9") == 2
    assert "dilate was auto, is 9" in capsys.readouterr().err
    assert remove("photos", "-o", "other", "--dry-run", "--watch") == 2
    assert "leave out --watch" in capsys.readouterr().err


# ------------------------------------------------------------------ a run


def test_every_file_is_accounted_for(tree, toy, capfd):
    (tree / "photos" / "broken.jpg").write_bytes(b"no photo")
    (tree / "photos" / "notes.doc").write_bytes(b"notes")
    assert remove("photos", "-o", "clean", "--json", "--save-mask") == 3
    out, err = capfd.readouterr()
    assert "broken.jpg" in err
    lines = report()
    assert {line["photo"]: line for line in map(json.loads, out.splitlines())} == lines
    assert statuses() == {
        **dict.fromkeys(("a.png", "b.jpg", "deep/a.png", "deep/er/c.png"), "removed"),
        "plain.png": "unmatched",
        "broken.jpg": "failed",
        "notes.doc": "skipped",
    }
    assert results() == sorted(
        f"{name}.{kind}"
        for name, end in (("a", "png"), ("b", "jpg"), ("deep/a", "png"), ("deep/er/c", "png"))
        for kind in (end, "mask.png")
    )
    line = lines["deep/a.png"]
    assert (line["removed"][0]["label"], line["models"]["telea"]) == ("person", None)
    assert line["removed"][0]["segmentation"]["size"] == [80, 100]
    assert line["output"]["size"] == Path("clean/deep/a.png").stat().st_size
    assert line["source"]["size"] == Path("photos/deep/a.png").stat().st_size
    assert line["seconds"].keys() >= {"read", "find", "fill"}


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there")
def test_names_that_are_no_text_are_names(tree, toy, capsys):
    name = os.fsdecode(b"caf\xe9\n.png")
    draw(tree / "photos" / name)
    assert remove("photos", "-o", "clean", "--dry-run") == 0
    assert "caf\\udce9" in capsys.readouterr().out
    assert remove("photos", "-o", "clean") == 0
    assert statuses()[name] == "removed"
    assert Path("clean", name).is_file()


@pytest.mark.parametrize("unmatched", ["copy", "link"])
def test_photos_in_which_nothing_is_found(tree, toy, unmatched):
    assert remove("photos", "-o", "clean", "--unmatched", unmatched) == 0
    source, target = tree / "photos" / "plain.png", tree / "clean" / "plain.png"
    assert target.read_bytes() == source.read_bytes()
    assert target.samefile(source) == (unmatched == "link")


def test_the_next_run_does_nothing_twice(tree, toy, capsys):
    assert remove("photos", "-o", "clean", "--limit", "2", "--jobs", "1") == 0
    assert len(results()) == 2
    before = {name: Path("clean", name).stat().st_mtime_ns for name in results()}
    assert remove("photos", "-o", "clean") == 0
    assert "2 photos done already, 3 to do" in capsys.readouterr().err
    assert before == {name: Path("clean", name).stat().st_mtime_ns for name in before}
    assert len(results()) == 4
    assert len(report()) == 5


def test_changed_photos_and_lost_results_are_done_again(tree, toy):
    assert remove("photos", "-o", "clean") == 0
    finished = {name: Path("clean", name).stat().st_mtime_ns for name in results()}
    draw(tree / "photos" / "a.png", discs=((60, 30, 12, RED),))
    os.utime(tree / "photos" / "b.jpg")  # touched, but the same
    Path("clean/deep/a.png").unlink()
    Path("clean/deep/er/c.png").write_bytes(b"other bytes")
    assert remove("photos", "-o", "clean") == 0
    anew = {name for name in results() if Path("clean", name).stat().st_mtime_ns != finished[name]}
    assert anew == {"a.png", "deep/a.png", "deep/er/c.png"}
    assert len(Path("clean/report.jsonl").read_text().splitlines()) == 5


def test_a_second_folder_takes_no_name_of_the_first_ones_results(tree, toy, capsys):
    (tree / "photos").rename(tree / "2023")
    assert remove("2023", "-o", "clean") == 0
    before = {name: Path("clean", name).read_bytes() for name in results()}
    draw(tree / "2024" / "a.png", discs=((60, 30, 12, RED),))
    draw(tree / "2024" / "new.png")
    assert remove("2024", "-o", "clean") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"objremove: clean/a.png was made of {tree}/2023/a.png, not of 2024/a.png: name another")
    assert {name: Path("clean", name).read_bytes() for name in results()} == before
    (tree / "2023").rename(tree / "moved")
    assert remove("moved", "-o", "clean") == 0, "the same photos in another place"
    draw(tree / "moved" / "a.png", discs=((60, 30, 12, RED),))
    assert remove("moved", "-o", "clean", "--overwrite") == 0
    assert remove("2024", "-o", "clean") == 0, "the same photo as moved/a.png by now"


def test_a_photo_refused_while_watching_leaves_the_others_record(tree, toy, monkeypatch, capsys):
    (tree / "photos").rename(tree / "2023")
    assert remove("2023", "-o", "clean") == 0
    draw(tree / "2024" / "a.png", discs=((60, 30, 12, RED),))
    before = report()
    watch_rounds(monkeypatch)
    assert remove("2024", "-o", "clean", "--watch") == 1
    assert "was made of" in capsys.readouterr().err
    assert report() == before
    assert remove("2023", "-o", "clean") == 0
    assert "0 photos" in capsys.readouterr().err


def test_reports_of_earlier_versions_own_what_they_made(tree, toy):
    """Their lines name the photo as it was named then, and not the mask and comparison beside a result."""
    assert remove("photos", "-o", "clean", "--save-mask", "--compare") == 0
    lines = []
    for line in report().values():
        line["source"]["path"] = os.path.relpath(line["source"]["path"])
        del line["files"]
        lines.append(json.dumps(line) + "\n")
    Path("clean/report.jsonl").write_text("".join(lines))
    draw(tree / "photos" / "a.png", discs=((60, 30, 12, RED),))
    Path("clean/b.jpg").unlink()
    assert remove("photos", "-o", "clean", "--save-mask", "--compare") == 0
    draw(tree / "photos" / "deep" / "a.png", discs=())
    assert remove("photos", "-o", "clean", "--save-mask", "--compare") == 0
    assert "deep/a.mask.png" not in results()


def test_other_options_leave_nothing_of_earlier_ones(tree, toy):
    assert remove("photos", "-o", "clean", "--save-mask") == 0
    assert remove("photos", "-o", "clean", "--again", "--format", "webp") == 0
    assert results() == ["a.webp", "b.webp", "deep/a.webp", "deep/er/c.webp"]
    assert report()["a.png"]["files"] == ["a.webp"]
    assert remove("photos", "-o", "clean", "--again") == 0
    assert results() == ["a.png", "b.jpg", "deep/a.png", "deep/er/c.png"]


def test_a_mask_that_no_run_made_is_not_replaced(tree, toy, capsys):
    assert remove("photos", "-o", "clean") == 0
    Path("clean/a.mask.png").write_bytes(b"mine")
    assert remove("photos", "-o", "clean", "--again", "--save-mask") == 2
    assert "clean/a.mask.png exists, and no run made it" in capsys.readouterr().err
    assert Path("clean/a.mask.png").read_bytes() == b"mine"


def test_a_link_that_cannot_be_made_deletes_nothing(tree, toy, monkeypatch):
    Path("clean").mkdir()
    Path("clean/plain.png").write_bytes(b"mine")
    monkeypatch.setattr(os, "link", Mock(side_effect=OSError(errno.EXDEV, "another disk")))
    assert remove("photos", "-o", "clean", "--unmatched", "link", "--overwrite") == 3
    assert Path("clean/plain.png").read_bytes() == b"mine"
    assert statuses()["plain.png"] == "failed"


def test_what_cannot_be_read_fails_alone(tree, toy, monkeypatch):
    """Tests may run as root, who may read everything: the system's refusals are played."""
    assert remove("photos", "-o", "clean") == 0
    (tree / "photos" / "loop.png").symlink_to("loop.png")
    draw(tree / "photos" / "new.png")
    os.utime(tree / "photos" / "a.png")

    def refusing(real, name):
        def refused(path, *rest):
            if Path(path).name == name:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path, *rest)

        return refused

    monkeypatch.setattr("objremove.runs.checksums.file_digest", refusing(checksums.file_digest, "a.png"))
    monkeypatch.setattr(os, "scandir", refusing(os.scandir, "deep"))
    assert remove("photos", "-o", "clean") == 3
    lines = report()
    assert (lines["a.png"]["status"], lines["new.png"]["status"]) == ("failed", "removed")
    assert lines["deep"]["reason"] == "cannot be looked into: Permission denied"
    assert lines["loop.png"]["reason"] == "a link that leads in a circle"
    assert Path("clean/deep/er/c.png").exists(), "what was made of it is still there"


def test_a_folder_that_is_not_there_is_said(tree, toy, capsys):
    for more in ((), ("--dry-run",)):
        assert remove("photos", "nowhere", "-o", "clean", *more) == 2
        assert "nowhere: no such file or folder" in capsys.readouterr().err
    assert not Path("clean").exists()


def test_while_watching_a_folder_may_go_and_come_back(tree, toy, monkeypatch):
    draw(tree / "more" / "x.png")
    watch_rounds(
        monkeypatch, lambda: (tree / "more").rename(tree / "gone"), lambda: (tree / "gone").rename(tree / "more")
    )
    assert remove("photos", "more", "-o", "clean", "--watch") == 0
    assert "more/x.png" in results()
    assert all(name.startswith(("photos/", "more/")) for name in report())


def test_damaged_state_is_said_or_made_anew(tree, toy, capsys):
    assert remove("photos", "-o", "clean") == 0
    with open("clean/report.jsonl", "a") as file:
        file.write('{"photo": "a.png", "status": "removed", "output": {"path": "a.png"}}\n["no line"]\n')
    assert remove("photos", "-o", "clean") == 0
    Path("clean/.objremove/options.json").write_text("")
    assert remove("photos", "-o", "clean") == 2
    assert "options.json is damaged: delete it" in capsys.readouterr().err


def test_other_options_are_noticed(tree, toy, capsys):
    assert remove("photos", "-o", "clean", "--limit", "3") == 0
    assert remove("photos", "-o", "clean", "--dilate", "9") == 2
    err = capsys.readouterr().err
    assert "dilate was auto, is 9" in err
    assert "--again" in err
    assert remove("photos", "-o", "clean", "--dilate", "9", "--again") == 0
    assert "3 photos done already" not in capsys.readouterr().err
    assert len({line["run"] for line in report().values()}) == 1
    assert remove("photos", "-o", "clean", "--dilate", "9") == 0
    assert "5 photos done already, 0 to do" in capsys.readouterr().err


def test_failed_photos_are_tried_again_only_when_asked_or_changed(tree, toy, capsys):
    broken = tree / "photos" / "broken.png"
    broken.write_bytes(b"no photo")
    for again, tried in (((), 1), ((), 0), (("--retry-failed",), 1)):
        assert remove("photos", "-o", "clean", *again) == 3
        assert capsys.readouterr().err.count("broken.png") == tried
    draw(broken)
    assert remove("photos", "-o", "clean") == 0
    assert statuses()["broken.png"] == "removed"


def test_two_runs_in_one_output_are_one_too_many(tree, toy, capsys):
    with opened(Path("clean"), {}):
        assert remove("photos", "-o", "clean") == 1
    assert "another run is at work there" in capsys.readouterr().err


def test_a_full_disk_ends_the_run_and_loses_nothing(tree, toy, monkeypatch, capsys):
    real, room = folder_run.write_atomic, [2]

    def write(path, data):
        if not room[0]:
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            except OSError as error:
                raise PhotoError(f"{path}: cannot be written: {error.strerror}") from None
        room[0] -= 1
        real(path, data)

    monkeypatch.setattr(folder_run, "write_atomic", write)
    assert remove("photos", "-o", "clean", "--jobs", "1") == 1
    assert "the disk is full" in capsys.readouterr().err
    assert len(results()) == 2
    assert set(statuses().values()) <= {"removed", "unmatched"}
    monkeypatch.setattr(folder_run, "write_atomic", real)
    assert remove("photos", "-o", "clean") == 0
    assert len(results()) == 4


def full_after(writes, monkeypatch):
    """The disk takes so many files, and then no more."""
    real, room = folder_run.write_atomic, [writes]

    def write(path, data):
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= 1
        real(path, data)

    monkeypatch.setattr(folder_run, "write_atomic", write)


def test_a_disk_that_is_full_between_a_mask_and_its_result(tree, toy, monkeypatch):
    """What was written of the photo goes, so that the next run does not take it for someone else's."""
    with monkeypatch.context() as patch:
        full_after(3, patch)  # a mask and its result, and another mask
        assert remove("photos", "-o", "clean", "--save-mask", "--jobs", "1") == 1
    assert len(results()) == 2
    assert remove("photos", "-o", "clean", "--save-mask") == 0
    assert len(results()) == 8


@pytest.mark.parametrize("becomes", ["broken", "unmatched"])
def test_a_photo_that_changes_does_not_keep_its_earlier_result(tree, toy, becomes):
    """Its line says that nothing was written; and when it changes once more, its name is free."""
    arguments = ("photos", "-o", "clean", "--save-mask", "--compare")
    photo = tree / "photos" / "a.png"
    assert remove(*arguments) == 0
    whole, before = photo.read_bytes(), results()
    photo.write_bytes(whole[: len(whole) // 2]) if becomes == "broken" else draw(photo, discs=())
    assert remove(*arguments) == (3 if becomes == "broken" else 0)
    assert set(before) - set(results()) == {"a.png", "a.mask.png", "a.compare.png"}
    assert report()["a.png"]["output"] is None
    photo.write_bytes(whole)
    assert remove(*arguments) == 0
    assert results() == before


@pytest.mark.parametrize("unmatched", ["copy", "link"])
def test_a_copy_has_no_mask_of_an_earlier_result_beside_it(tree, toy, unmatched):
    arguments = ("photos", "-o", "clean", "--save-mask", "--unmatched", unmatched)
    assert remove(*arguments) == 0
    before = results()
    draw(tree / "photos" / "a.png", discs=())
    assert remove(*arguments) == 0
    assert set(before) - set(results()) == {"a.mask.png"}
    assert Path("clean/a.png").read_bytes() == Path("photos/a.png").read_bytes()


def test_a_failure_deletes_nothing_that_no_run_made(tree, toy):
    """Not even where --overwrite would have let a result replace it."""
    foreign = draw(tree / "clean" / "a.png", discs=((10, 10, 5, RED),)).read_bytes()
    Path("photos/a.png").write_bytes(b"no photo")
    assert remove("photos", "-o", "clean", "--overwrite") == 3
    assert Path("clean/a.png").read_bytes() == foreign


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["photos"], 2, "--output"),
        (["photos", "-o", "-"], 2, "folder"),
        (["photos", "--in-place"], 2, "folder"),
        (["photos/a.png", "--limit", "3"], 2, "--limit is for folders"),
        (["photos/a.png", "-o", "clean", "--watch"], 2, "--watch is for folders"),
        (["photos", "-o", "clean", "--watch", "--limit", "1"], 2, "leave out --watch"),
        (["photos", "nowhere.png", "-o", "clean", "--watch"], 2, "nowhere.png: no such file"),
        (["photos", "-", "-o", "clean"], 2, "--list -"),
        (["photos", "-o", "clean", "--unmatched", "link", "--format", "png"], 2, "--unmatched link"),
        (["--list", "missing.txt", "-o", "clean"], 2, "missing.txt"),
        (["empty", "-o", "clean"], 2, "no photo is there"),
        (["photos", "-o", "photos"], 2, "is the output, too"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(tree, toy, capsys, arguments, code, says):
    (tree / "empty").mkdir()
    assert remove(*arguments) == code
    err = capsys.readouterr().err
    assert says in err
    assert len(err.splitlines()) == 1
    assert not Path("clean").exists()


# ------------------------------------------------------------------ the report as memory


def test_a_torn_line_is_no_line(tree, toy):
    """As a power cut in the middle of a line leaves the report: the result that the line speaks of has not come."""
    assert remove("photos", "-o", "clean", "--jobs", "1") == 0
    path = Path("clean/report.jsonl")
    last = max(report().values(), key=lambda line: (line["output"] is not None, line["photo"]))
    rest = b"".join(line for line in path.read_bytes().splitlines(True) if json.loads(line) != last)
    whole = json.dumps(last).encode()
    for torn in (whole, whole[:40], b"\0" * 30):
        Path("clean", last["output"]["path"]).unlink()
        path.write_bytes(rest + torn)
        assert remove("photos", "-o", "clean") == 0
        assert len(report()) == 5
        assert len(results()) == 4


def test_a_line_whose_result_never_came_is_no_proof(tree, toy, monkeypatch):
    """Killed between the line and the result, where an older result of the same size lies under the name."""
    assert remove("photos", "-o", "clean") == 0
    target = Path("clean/deep/a.png")
    good = target.read_bytes()
    target.write_bytes(bytes(len(good)))
    assert remove("photos", "-o", "clean") == 0
    assert target.read_bytes() == good


def test_old_lines_are_checked_by_size_only(tree, toy, monkeypatch):
    assert remove("photos", "-o", "clean") == 0
    asked = []
    real = manifests.has_digest
    monkeypatch.setattr(manifests, "has_digest", lambda *file: asked.append(file) or real(*file))
    plan = make_plan(["photos"], Layout(Path("clean")))
    for suspects, digests in ((256, 4), (0, 0)):
        monkeypatch.setattr(manifests, "SUSPECTS", suspects)
        asked.clear()
        known = Manifest(Path("clean"), report()["a.png"]["run"])
        assert all(known.is_settled(item) for item in plan.items)
        assert len(asked) == digests


def test_drafts_of_a_killed_run_are_swept(tree, toy):
    draft = tree / "clean" / "deep" / ".0123456789abcdef.part"
    draft.parent.mkdir(parents=True)
    draft.write_bytes(b"half a photo")
    assert remove("photos", "-o", "clean") == 0
    assert not draft.exists()


# ------------------------------------------------------------------ killed, interrupted

SLOW = """
import os, sys, time
from conftest import ColourSegmenter
from objremove import shelf
from objremove.cli.app import run
from objremove.inpainting.classical import ClassicalInpainter

shelf.segmentation.load = lambda *args, **options: ColourSegmenter()
fill = ClassicalInpainter.fill

def slowly(self, windows, holes):
    os.write(1, b"filling\\n")  # whole, whichever thread writes at the same moment
    time.sleep(0.05)
    return fill(self, windows, holes)

ClassicalInpainter.fill = slowly
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with Ctrl-C ignored
sys.exit(run(sys.argv[1:]))
"""


@contextmanager
def slow_run(*more, seconds=100):
    """The command in a process of its own, which is gone at the end and after so many seconds: then what it writes ends, too."""
    arguments = [sys.executable, "-c", SLOW, "-r", "person", "--inpainter", "telea", "photos", "-o", "clean", *more]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OBJREMOVE_HOME": "home"}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        limit = threading.Timer(seconds, process.kill)
        limit.start()
        try:
            yield process
        finally:
            limit.cancel()
            process.kill()


def test_killed_at_any_moment_the_same_command_goes_on(tree):
    for i in range(30):
        draw(tree / "photos" / f"many/{i}.png", discs=((30 + i, 40, 8, RED),))
    rng, done = random.Random(4), set()
    for _ in range(2):
        with slow_run("-j", "2") as process:
            for _ in range(rng.randrange(4, 10)):
                assert process.stdout.readline() == b"filling\n"
            time.sleep(rng.random() / 10)
        whole = [name for name in results() if not name.endswith(".part")]
        for name in whole:
            Image.open(Path("clean", name)).load()
        now = {name: Path("clean", name).stat().st_mtime_ns for name in whole}
        assert now.items() >= done  # nothing is done twice
        done = set(now.items())
    with slow_run("-j", "2") as process:
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert b"photos done already" in err
    assert all(Path("clean", name).stat().st_mtime_ns == stamp for name, stamp in done)
    assert len(results()) == 34
    assert sorted(statuses().values()) == ["removed"] * 34 + ["unmatched"]


def test_ctrl_c_finishes_what_is_in_work(tree):
    for i in range(30):
        draw(tree / "photos" / f"many/{i}.png")
    with slow_run("-j", "1") as process:
        assert process.stdout.readline() == b"filling\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130, err
    assert b"finishing the photos in work" in err
    assert 0 < len(results()) < 20
    assert len(results()) == list(statuses().values()).count("removed")


# ------------------------------------------------------------------ watching


def test_a_photo_is_left_alone_until_it_is_at_rest(tree, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("objremove.folder.watch.time.monotonic", lambda: now[0])
    seen = Settled(2.0)

    def look(seconds):
        now[0] += seconds
        plan, moving = seen.at_rest(make_plan(["photos"], Layout(Path("clean"))))
        return len(plan.items), moving

    assert look(0) == (0, True)
    assert look(1) == (0, True)
    with open("photos/a.png", "ab") as growing:
        growing.write(b"more")
    assert look(1) == (4, True)
    assert look(2) == (5, False)


@pytest.mark.parametrize("watchfiles", [True, False])
def test_watching_finds_what_comes(tree, monkeypatch, watchfiles):
    if watchfiles:
        pytest.importorskip("watchfiles")
    else:
        monkeypatch.setattr("objremove.folder.watch.find_spec", lambda name: None)
    stop = threading.Event()
    plans = rounds(lambda: make_plan(["photos"], Layout(Path("clean"))), ["photos"], stop, settle=0.1)
    assert len(next(plans).items) == 5
    threading.Timer(0.3, lambda: draw(tree / "photos" / "new.png")).start()
    assert "new.png" in names(next(plans))
    stop.set()
    assert list(plans) == []


def test_watching_from_the_command_line(tree):
    with slow_run("--watch", "--json", "-q") as process:
        lines = (json.loads(line) for line in iter(process.stdout.readline, b"") if line[:1] == b"{")
        assert len({line["photo"] for line in islice(lines, 5)}) == 5
        draw(tree / "photos" / "late.png")
        late = next(lines, None)
        assert late is not None
        assert (late["photo"], late["status"]) == ("late.png", "removed")
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130


def watch_rounds(monkeypatch, *changes):
    """Make --watch look once, then after each of the changes, and end."""

    def rounds(make_plan, folders, stop):
        yield make_plan()
        for change in changes:
            change()
            yield make_plan()

    monkeypatch.setattr("objremove.folder.watch.rounds", rounds)


def test_what_cannot_be_written_does_not_end_an_unattended_run(tree, toy, monkeypatch, capsys):
    """Two photos of one name, and a file that no run made, fail alone; a result that is there keeps its name."""
    draw(tree / "clean" / "deep" / "a.webp")

    def a_jpeg_comes():
        draw(tree / "photos" / "a.jpg")

    def a_good_photo_comes():
        draw(tree / "photos" / "good.png")

    watch_rounds(monkeypatch, a_jpeg_comes, a_good_photo_comes)
    before = Path("clean/deep/a.webp").read_bytes()
    assert remove("photos", "-o", "clean", "--format", "webp", "--watch") == 3
    err = capsys.readouterr().err
    assert err.count("would both write") == err.count("no run made it") == 1
    assert statuses() == {
        **dict.fromkeys(("a.png", "b.jpg", "deep/er/c.png", "good.png"), "removed"),
        **dict.fromkeys(("a.jpg", "deep/a.png"), "failed"),
        "plain.png": "unmatched",
    }
    assert Path("clean/deep/a.webp").read_bytes() == before


def test_a_list_from_standard_input_lasts_as_long_as_the_watch(tree, toy, monkeypatch):
    import io

    listed = draw(tree / "elsewhere" / "listed.png")
    watch_rounds(monkeypatch, lambda: draw(listed, discs=((60, 30, 12, RED),)))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"elsewhere/listed.png\n")))
    assert remove("photos", "-o", "clean", "--watch", "--list", "-") == 0
    assert report()["elsewhere/listed.png"]["source"]["size"] == listed.stat().st_size
    seen = np.asarray(Image.open("clean/elsewhere/listed.png"))
    assert not (seen == RED).all(axis=2).any()


def test_memory_is_bounded_by_the_photos_in_work(tree, toy, monkeypatch):
    """No more results live at a time than photos may be in work, however many photos there are."""
    import weakref

    for i in range(25):
        draw(tree / "photos" / f"many/{i}.png")
    alive, most = weakref.WeakSet(), []
    real = Result.to_dict

    def watched(self):
        alive.add(self)
        most.append(len(alive))
        return real(self)

    monkeypatch.setattr(Result, "to_dict", watched)
    assert remove("photos", "-o", "clean", "-j", "2") == 0
    assert len(most) == 30
    assert max(most) <= 2 * 2 + 1 + 1  # twice the workers, a batch of one, and the one being reported


def test_results_are_those_of_a_single_run(tree, toy):
    assert remove("photos", "-o", "clean") == 0
    assert remove("photos/deep/a.png", "-o", "alone.png") == 0
    assert Path("alone.png").read_bytes() == Path("clean/deep/a.png").read_bytes()
    assert np.asarray(Image.open("alone.png")).shape == (80, 100, 3)
