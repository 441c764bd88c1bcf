"""The command line as a person and as a script use it."""

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import RED, ColourSegmenter, scene
from PIL import Image

from objremove.classes import NAMES
from objremove.cli.app import run
from objremove.errors import ModelError, PhotoError, UsageError
from objremove.instances import Instance
from objremove.photo import write_atomic
from objremove.wording import counted


@pytest.fixture(autouse=True)
def colours(monkeypatch, tmp_path):
    """The toy segmenter under the name of the embedded one; the working folder is a fresh one."""
    from objremove import shelf

    monkeypatch.setenv("OBJREMOVE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(shelf.segmentation, "load", lambda *args, **options: ColourSegmenter())
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(scene()).save(path, quality=95)
    return path


def remove(*arguments):
    return run(["--inpainter", "telea", *map(str, arguments)])


def test_the_main_job_writes_beside_the_photo_and_says_so(photo, capsys):
    assert remove("--remove", "person,car", photo) == 0
    assert (photo.parent / "photo.removed.jpg").exists()
    out, err = capsys.readouterr()
    assert out == ""
    assert "removed person x3, car" in err


def test_output_names(photo, tmp_path):
    other = tmp_path / "other.png"
    Image.fromarray(scene()).save(other)
    assert remove("-r", "person", photo, "-o", tmp_path / "clean.jpg") == 0
    assert remove("-r", "person", photo, other, "-o", tmp_path / "out") == 0
    assert remove("-r", "person", photo, "--suffix", "_clean", "--format", "png") == 0
    for name in ("clean.jpg", "out/photo.jpg", "out/other.png", "photo_clean.png"):
        assert Image.open(tmp_path / name).size == (240, 180)


def test_extras(photo, tmp_path):
    assert remove("-r", "person", photo, "--save-mask", "--compare", "-q") == 0
    mask = np.asarray(Image.open(tmp_path / "photo.removed.mask.png"))
    assert set(np.unique(mask)) == {0, 255}
    assert Image.open(tmp_path / "photo.removed.compare.png").size[0] > 3 * 240


def test_nothing_is_overwritten_unasked(photo, tmp_path, capsys):
    target = tmp_path / "photo.removed.jpg"
    target.write_bytes(b"precious")
    assert remove("-r", "person", photo) == 2
    assert target.read_bytes() == b"precious"
    assert "--overwrite" in capsys.readouterr().err
    assert remove("-r", "person", photo, "--overwrite") == 0
    assert remove("-r", "person", photo, "-o", photo) == 2


def test_in_place_keeps_the_original(photo):
    before = photo.read_bytes()
    assert remove("-r", "person", photo, "--in-place") == 0
    backup = photo.with_name("photo.jpg.orig")
    assert backup.read_bytes() == before
    assert photo.read_bytes() != before
    assert remove("-r", "car", photo, "--in-place") == 0
    assert backup.read_bytes() == before


def test_in_place_never_replaces_a_backup(photo):
    original = photo.read_bytes()
    older = photo.with_name("photo.jpg.orig")
    older.write_bytes(b"an older photo of this name")
    assert remove("-r", "person", photo, "--in-place") == 0
    assert older.read_bytes() == b"an older photo of this name"
    assert photo.with_name("photo.jpg.orig.1").read_bytes() == original


def test_in_place_through_a_link_replaces_what_it_leads_to(photo, tmp_path):
    original = photo.read_bytes()
    link = tmp_path / "link.jpg"
    link.symlink_to(photo)
    assert remove("-r", "person", link, "--in-place") == 0
    assert link.is_symlink()
    assert photo.read_bytes() != original
    assert photo.with_name("photo.jpg.orig").read_bytes() == original


def test_in_place_leaves_nothing_behind_where_the_photo_cannot_be_written(photo, monkeypatch, capsys):
    from objremove.result import Result

    def encode(*_, **__):
        raise PhotoError("the photo cannot be written as JPEG: a side is too long")

    monkeypatch.setattr(Result, "encode", encode)
    before = photo.read_bytes()
    assert remove("-r", "person", photo, "--in-place") == 1
    assert "photo.jpg: the photo cannot be written" in capsys.readouterr().err
    assert [path.name for path in photo.parent.iterdir()] == ["photo.jpg"]
    assert photo.read_bytes() == before


def test_a_photo_that_is_yet_to_be_read_is_not_written(photo, tmp_path, capsys):
    """The second run of `objremove *.jpg` finds the results of the first among the photos."""
    second = tmp_path / "photo.removed.jpg"
    Image.fromarray(scene(discs=())).save(second)
    before = second.read_bytes()
    assert remove("-r", "person", photo, second, "--overwrite") == 2
    assert "itself a photo" in capsys.readouterr().err
    assert second.read_bytes() == before


def test_extras_are_not_written_over_masks_and_files(photo, tmp_path, capsys):
    _with_mask(photo)
    (tmp_path / "mask.png").rename(tmp_path / "photo.mask.png")
    before = (tmp_path / "photo.mask.png").read_bytes()
    own = ["--mask", tmp_path / "photo.mask.png", photo, "--in-place", "--save-mask"]
    assert remove(*own) == 2
    assert remove(*own, "--overwrite") == 2
    assert "mask to read" in capsys.readouterr().err
    assert (tmp_path / "photo.mask.png").read_bytes() == before
    (tmp_path / "photo.removed.compare.png").write_bytes(b"precious")
    assert remove("-r", "person", photo, "--compare") == 2
    assert (tmp_path / "photo.removed.compare.png").read_bytes() == b"precious"


def test_two_photos_with_one_extra_between_them(photo, tmp_path, capsys):
    Image.fromarray(scene()).save(tmp_path / "photo.png")
    assert remove("-r", "person", photo, tmp_path / "photo.png", "--save-mask") == 2
    assert "would both write" in capsys.readouterr().err


def test_a_new_folder_is_named_by_its_separator(photo, tmp_path):
    assert remove("-r", "person", photo, "-o", f"{tmp_path}/clean/") == 0
    assert remove("-r", "person", photo, "-o", f"{tmp_path}/out.v2/") == 0
    assert (tmp_path / "clean" / "photo.jpg").is_file()
    assert (tmp_path / "out.v2" / "photo.jpg").is_file()


@pytest.mark.parametrize("name", ["mis.jpg", "odd.png_large", "bare"])
def test_the_file_says_its_format_not_its_name(tmp_path, name):
    Image.fromarray(scene()).save(tmp_path / name, "PNG")
    assert remove("-r", "person", tmp_path / name) == 0
    (result,) = tmp_path.glob("*.removed*")
    assert Image.open(result).format == "PNG"
    assert remove("-r", "person", tmp_path / name, "-o", tmp_path / f"clean{(tmp_path / name).suffix}") == 0
    (result,) = tmp_path.glob("clean*")
    assert Image.open(result).format == "PNG"


def test_a_link_stays_a_link(photo, tmp_path):
    real = tmp_path / "real.jpg"
    real.write_bytes(b"old")
    link = tmp_path / "link.jpg"
    link.symlink_to(real)
    assert remove("-r", "person", photo, "-o", link, "--overwrite") == 0
    assert link.is_symlink()
    assert Image.open(real).format == "JPEG"


def test_names_as_long_as_the_disk_takes(tmp_path):
    target = tmp_path / ("\U0001f600" * 60 + ".png")  # 244 bytes
    write_atomic(target, b"photo")
    assert target.read_bytes() == b"photo"


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch):
    real = os.open

    def refuse_folders(path, flags, *mode):
        if flags & os.O_DIRECTORY:
            raise OSError(22, "Invalid argument")
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuse_folders)
    write_atomic(tmp_path / "photo.jpg", b"photo")
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_devices_and_folders_are_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(PhotoError, match="no regular file"):
            write_atomic(path, b"photo")
    assert pipe.is_fifo()


def test_json_is_one_line_a_photo(photo, capsys):
    assert remove("-r", "person", photo, "--json", "-q") == 0
    line = json.loads(capsys.readouterr().out)
    assert line["photo"] == str(photo)
    assert line["output"].endswith("photo.removed.jpg")
    assert len(line["removed"]) == 3
    assert line["removed"][0]["segmentation"]["size"] == [180, 240]
    assert line["seconds"].keys() >= {"read", "find", "fill"}


def test_nothing_found_is_said_and_nothing_written(tmp_path, capsys):
    plain = tmp_path / "plain.png"
    Image.fromarray(scene(discs=())).save(plain)
    assert remove("-r", "person", plain) == 0
    assert "nothing to remove was found" in capsys.readouterr().err
    assert not (tmp_path / "plain.removed.png").exists()


def test_an_instance_that_is_not_there_is_told_with_those_that_are(photo, capsys):
    assert remove("-r", "person#5", photo) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"{photo}: note: there is no person#5: found person#1-3",
        f"{photo}: nothing was removed, 3 found and left; no file was written",
    ]
    assert remove("-r", "person#3+5", photo, "--json") == 0
    line = json.loads(capsys.readouterr().out)
    assert len(line["removed"]) == 1
    assert line["warnings"] == ["there is no person#5: found person#1-3"]


def test_some_photos_failing_is_exit_3_and_the_others_are_done(photo, tmp_path, capsys):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:600])
    assert remove("-r", "person", broken, photo, "-o", tmp_path / "out") == 3
    assert (tmp_path / "out" / "photo.jpg").exists()
    err = capsys.readouterr().err
    assert "broken.jpg" in err
    assert "1 of 2 photos done" in err


@pytest.mark.parametrize(
    "error",
    [
        ModelError("the network's answer is not finite"),
        MemoryError(),
        RuntimeError("out of memory"),
        cv2.error("bad"),
        UsageError("odd"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_befalls_one_photo_befalls_it_alone(photo, tmp_path, monkeypatch, capsys, error):
    small = tmp_path / "small.png"
    Image.fromarray(scene(90, 120, discs=((60, 40, 12, RED),))).save(small)
    find = ColourSegmenter.find

    def failing(self, pixels, labels, *, confidence=None):
        if len(pixels) == 90:
            raise error
        return find(self, pixels, labels)

    monkeypatch.setattr(ColourSegmenter, "find", failing)
    assert remove("-r", "person", small, photo, "--json") == 3
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[0].keys() == {"photo", "error"}
    assert lines[1]["output"].endswith("photo.removed.jpg")
    assert err.startswith(f"objremove: {small}: {lines[0]['error']}\n")
    assert "Traceback" not in err
    assert remove("-r", "person", small, "-vv") == getattr(error, "exit_code", 1)
    assert "Traceback" in capsys.readouterr().err


def test_a_photo_that_is_not_there_is_usage_alone_and_some_failed_among_others(photo, tmp_path):
    assert remove("-r", "person", "nowhere.jpg", "nowhere.png") == 2
    assert remove("-r", "person", "nowhere.jpg", photo, "-o", tmp_path / "out") == 3
    assert (tmp_path / "out" / "photo.jpg").exists()


def test_where_all_photos_fail_the_first_gives_the_code(photo, tmp_path):
    Image.fromarray(scene(90, 120)).save(tmp_path / "small.png")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    far = ["--inpainter", "telea", "--point", "200,1"]  # outside small.png
    assert run([*far, "small.png", "broken.jpg"]) == 2
    assert run([*far, "broken.jpg", "small.png"]) == 1


def test_a_request_that_means_nothing_is_said_once_and_before_any_photo(photo, tmp_path, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    for request in (["-r", "zebra"], ["-r", "person", "--inpainter", "big-lamma"], ["-r", "sports ball,persom"]):
        assert remove(*request, "broken.jpg", photo) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert "broken.jpg" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["photo.jpg"], 2, "say what to remove"),
        (["-r", "person"], 2, "PHOTO"),
        (["-r", "persom", "photo.jpg"], 2, "did you mean person"),
        (["-r", "person", "missing.jpg"], 2, "missing.jpg: no such file or folder"),
        (["-r", "person", "missing/", "-o", "clean/"], 2, "missing: no such file or folder"),
        (["-r", "person", "*.webp", "-o", "clean/"], 2, "*.webp: no file or folder"),
        (["-r", "person", "*.webp"], 2, "*.webp: no file or folder"),
        (["-r", "person", "--list", "missing.txt", "-o", "clean/"], 2, "missing.txt: No such file"),
        (["-r", "person", "--list", ".", "-o", "clean/"], 2, "directory"),
        (["-r", "person", "."], 2, "--output"),
        (["-r", "person", "photo.jpg", "--mask", "missing.png"], 2, "missing.png"),
        (["detect", "missing.jpg"], 2, "missing.jpg"),
        (["detect", "."], 2, "one photo"),
        (["-r", "person", "empty.jpg"], 1, "empty"),
        (["-r", "3", "15", "photo.jpg"], 2, "--remove 3,15"),
        (["-r", "person", "cat", "photo.jpg"], 2, "--remove dog,cat"),
        (["-r", "person", "https://example.org/a.jpg"], 2, "curl -s https://example.org/a.jpg |"),
        (["-r", "person", "photo.jpg", "./photo.jpg"], 2, "photo.jpg is named twice"),
        (["-r", "person", "photo.jpg", "other.jpg", "-o", "clean.jpg"], 2, "clean.jpg names one file"),
        (["-r", "person", "photo.jpg", "--format", "png", "-o", "clean.jpg"], 2, "contradict each other"),
        (["-r", "persom", "small.png", "-o", "photo.jpg"], 2, "did you mean person"),
        (["-r", "person", "photo.jpg", "--max-megapixels", "-1"], 2, "above 0"),
        (["detect", "photo.jpg", "-o", "-"], 2, "detect draws into a file"),
        (["-r", "person", "photo.jpg", "--point", "9999,1"], 2, "outside the photo"),
        (["-r", "person", "photo.jpg", "--box", "1,2,3"], 2, "x0,y0,x1,y1"),
        (["-r", "person", "photo.jpg", "--mask", "small.png"], 2, "4x4"),
        (["-r", "person", "photo.jpg", "--dilate", "wide"], 2, "dilate"),
        (["-r", "person", "photo.jpg", "--inpainter", "big-lamma"], 2, "big-lama"),
        (["-r", "person", "photo.jpg", "--inpainter", "big-lama", "--offline"], 1, "big-lama"),
        (["-r", "person", "photo.jpg", "--device", "cuda:77"], 2, "cuda:77"),
        (["-r", "person", "photo.jpg", "--max-megapixels", "0.01"], 1, "--max-megapixels"),
        (["-r", "person", "photo.jpg", "-o", "/proc/nowhere/x.jpg"], 1, "/proc"),
        (["-r", "person", "photo.jpg", "--nonsense"], 2, "--nonsense"),
        (["-r", "person", "photo.jpg", "--format", "xyz"], 2, "'xyz'"),
        (["-r", "person", "photo.jpg", "-o", "clean.docx"], 2, "docx"),
        (["-r", "person", "photo.jpg", "-"], 2, "'-' stands for one photo"),
        (["-r", "person", "photo.jpg", "--seed", "99999999999"], 2, "--seed"),
        (["-r", "person", "photo.jpg", "--suffix", "/x"], 2, "--suffix"),
        (["-r", "person", "photo.jpg", "-o", "-", "--save-mask"], 2, "--save-mask"),
        (["-r", "person", "photo.jpg", "-o", "-", "--compare"], 2, "--compare"),
        (["-r", "person", "photo.jpg", "--in-place", "--format", "png"], 2, "--format"),
        (["-r", "person", "-", "-o", "new/"], 2, "has no name"),
        (["-r", "person", "photo.jpg", "-o", "/dev/null", "--overwrite"], 1, "/dev/null"),
    ],
)
def test_bad_input_is_one_line_and_a_code(photo, tmp_path, capsys, arguments, code, says):
    Image.new("L", (4, 4)).save(tmp_path / "small.png")
    (tmp_path / "empty.jpg").touch()
    assert (run(arguments) if arguments[0] == "detect" else remove(*arguments)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


def test_detect_numbers_what_remove_picks(photo, tmp_path, capsys):
    assert run(["detect", str(photo)]) == 0
    out = capsys.readouterr().out
    assert "person#3" in out
    assert "car#1" in out
    assert Image.open(tmp_path / "photo.detect.png").size == (240, 180)
    assert run(["detect", str(photo), "--json", "--no-picture", "-q"]) == 0
    names = [one["name"] for one in json.loads(capsys.readouterr().out)["instances"]]
    assert names == ["person#1", "car#1", "person#2", "person#3"]


def test_detect_keeps_the_numbers_of_what_it_is_asked_for(photo, capsys):
    assert run(["detect", str(photo), "-r", "person#2+7,car", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [one["name"] for one in json.loads(out)["instances"]] == ["car#1", "person#2"]
    assert "note: there is no person#7: found person#1-3" in err


def test_detect_marks_what_only_the_second_look_found(photo, monkeypatch, capsys):
    find = ColourSegmenter.find
    monkeypatch.setattr(ColourSegmenter, "look_again", find)
    monkeypatch.setattr(
        ColourSegmenter, "find", lambda self, pixels, labels, **_: find(self, pixels, set(labels) - {"car"})
    )
    assert run(["detect", str(photo), "-r", "person,car"]) == 0
    marked = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "second look" in line]
    assert marked == ["car#1"]
    assert run(["detect", str(photo), "-r", "person,car", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["instances"]
    assert [one["name"] for one in found if one["second_look"]] == ["car#1"]


def test_more_of_an_object_is_said_and_not_counted(photo, tmp_path, monkeypatch, capsys):
    """The first look finds the cars weakly; the second finds the same ones larger."""
    find = ColourSegmenter.find

    def larger(self, pixels, labels, *, confidence=None):
        masks = (cv2.dilate(one.mask.astype(np.uint8), np.ones((15, 15))) > 0 for one in find(self, pixels, labels))
        return [Instance.from_mask(mask, label="car", score=0.2) for mask in masks]

    monkeypatch.setattr(ColourSegmenter, "look_again", larger)
    monkeypatch.setattr(
        ColourSegmenter, "find", lambda self, *args, **_: [replace(one, score=0.6) for one in find(self, *args)]
    )
    assert run(["detect", str(photo), "-r", "car"]) == 0
    out, err = capsys.readouterr()
    assert "more of car, only at a second look" in out
    assert ": 1 found" in err
    assert remove("-r", "car", photo, "-o", tmp_path / "clean.png") == 0
    assert "removed car (" in capsys.readouterr().err


def test_detect_writes_what_the_name_says_and_never_the_photo(photo, tmp_path, capsys):
    assert run(["detect", str(photo), "-o", "seen.jpg"]) == 0
    assert Image.open("seen.jpg").format == "JPEG"
    before = photo.read_bytes()
    assert run(["detect", str(photo), "-o", str(photo), "--overwrite"]) == 2
    assert photo.read_bytes() == before
    assert run(["detect", str(photo), "-o", "seen.tif"]) == 2
    assert "png or jpg" in capsys.readouterr().err
    assert run(["detect", str(photo), "-o", "seen/"]) == 2


def test_detect_draws_anew_what_is_not_there(photo, tmp_path, capsys):
    drawn = tmp_path / "photo.detect.png"
    assert run(["detect", str(photo)]) == 0
    marked = drawn.read_bytes()
    assert run(["detect", "-r", "person#9", str(photo)]) == 0
    assert drawn.read_bytes() != marked
    assert "0 found" in capsys.readouterr().err


def test_detect_reads_standard_input_and_may_look_once(photo, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(photo.read_bytes())))
    assert run(["detect", "-", "--json", "--no-second-look"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)["instances"]) == 4
    assert "-: 4 found\n" in err


def as_a_process(*arguments, **streams):
    command = [sys.executable, "-m", "objremove", "--inpainter", "telea", *map(str, arguments)]
    return subprocess.run(command, check=False, timeout=60, **streams)


@pytest.fixture
def mask(tmp_path):
    path, pixels = tmp_path / "mask.png", np.zeros((180, 240), np.uint8)
    pixels[60:90, 80:120] = 255
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
def test_json_goes_to_standard_output_although_a_terminal_shows_the_bar(photo, mask):
    leader, follower = os.openpty()
    ended = as_a_process("--mask", mask, photo, "--json", stdout=subprocess.PIPE, stderr=follower)
    os.close(follower)
    os.close(leader)
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["output"].endswith("photo.removed.jpg")


@pytest.mark.skipif(os.name != "posix", reason="closed by the shell")
@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_standard_streams_are_led_to_nowhere(photo, mask, closed):
    def close():
        for number in closed:
            os.close(number)

    assert as_a_process("--mask", mask, photo, preexec_fn=close).returncode == 0
    assert (photo.parent / "photo.removed.jpg").exists()


def test_whatever_one_photo_does_the_others_are_done(photo, tmp_path, monkeypatch, capsys):
    from objremove.inpainting.classical import ClassicalInpainter

    real, calls = ClassicalInpainter.fill, []

    def fill(self, windows, holes):
        calls.append(len(windows))
        if len(calls) == 1:
            raise ZeroDivisionError("a fault of its own")
        return real(self, windows, holes)

    monkeypatch.setattr(ClassicalInpainter, "fill", fill)
    other = tmp_path / "other.jpg"
    other.write_bytes(photo.read_bytes())
    assert remove("--remove", "person", photo, other) == 3
    assert (tmp_path / "other.removed.jpg").exists()
    assert "photo.jpg: a fault of its own" in capsys.readouterr().err


def test_tables_in_a_pipe_have_a_line_for_each_row(capsys):
    assert run(["classes"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert any(line.startswith("person ") and "people" in line for line in names)
    assert len(names) == 1 + len(NAMES)
    assert run(["models", "list"]) == 0
    assert all(
        line.split()[1] in ("kind", "segmenter", "prompter", "inpainter", "metric")
        for line in capsys.readouterr().out.splitlines()
    )


def test_a_black_mask_is_said(photo, tmp_path, capsys):
    Image.new("L", (240, 180)).save(tmp_path / "black.png")
    assert remove("--mask", tmp_path / "black.png", photo) == 0
    assert "the mask is black all over" in capsys.readouterr().err


def test_one_photo_is_no_photos(photo, capsys):
    assert (counted(0, "photo"), counted(1, "class", "classes"), counted(2, "class", "classes")) == (
        "0 photos",
        "1 class",
        "2 classes",
    )
    (photo.parent / "list.txt").write_text("photo.jpg\n")
    assert remove("-r", "person", "--list", "list.txt", "-o", "clean/", "--dry-run") == 0
    assert "1 photo into clean, 0 done already, 0 left for later runs, 0 files skipped" in capsys.readouterr().err
    assert remove("-r", "person", "--list", "list.txt", "-o", "clean/") == 0
    assert "\n1 photo in " in capsys.readouterr().err
    assert remove("-r", "person", "--list", "list.txt", "-o", "clean/") == 0
    assert "1 photo done already, 0 to do" in capsys.readouterr().err


def test_version(capsys):
    import objremove

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"objremove {objremove.__version__}\n"


def test_classes_models_and_doctor(capsys):
    assert run(["classes"]) == 0
    assert "aeroplane" in capsys.readouterr().out
    assert run(["models", "list"]) == 0
    rows = {words[0]: words for line in capsys.readouterr().out.splitlines() if len(words := line.split()) > 3}
    assert rows["big-lama"][1:4] == ["inpainter", "-", "410"]
    assert rows["deeplabv3_mobilenet_v3_large"][1:4] == ["segmenter", "-", "44"], "the whole name, on 80 columns too"
    assert run(["models", "verify"]) == 0
    assert "slim-deeplab-voc21: well" in capsys.readouterr().out
    assert run(["models", "path", "slim-deeplab-voc21"]) == 0
    assert os.path.exists(capsys.readouterr().out.strip())
    assert run(["models", "path", "sam_vit_b"]) == 1
    assert run(["doctor"]) == 0
    assert "all well" in capsys.readouterr().out


def test_models_go_on_after_a_failure(monkeypatch, capsys):
    from objremove import models

    def fetch(name, *, progress):
        if name == "sam_vit_b":
            raise ModelError("no network")
        return "/somewhere"

    monkeypatch.setattr(models, "fetch", fetch)
    assert run(["models", "verify", "nosuch"]) == 2
    assert run(["models", "verify", "nosuch", "slim-deeplab-voc21"]) == 3
    assert run(["models", "pull", "sam_vit_b"]) == 1
    capsys.readouterr()
    assert run(["models", "pull", "--all"]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert "objremove: no network" in lines
    assert len(lines) > 5


def command(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "objremove", *arguments], capture_output=True, timeout=120, **options)


def test_a_pipe_carries_the_photo_and_nothing_else(photo):
    done = command("--mask", "mask.png", "--inpainter", "telea", "-", input=_with_mask(photo))
    assert done.returncode == 0, done.stderr
    assert Image.open(io.BytesIO(done.stdout)).format == "JPEG"
    assert b"removed mask" in done.stderr


def test_a_pipe_overwrites_nothing_either(photo):
    """`objremove … - -o photo.jpg < photo.jpg` would lose the photo."""
    data = _with_mask(photo)
    done = command("--mask", "mask.png", "--inpainter", "telea", "-", "-o", "photo.jpg", input=data)
    assert done.returncode == 2
    assert b"--overwrite" in done.stderr
    assert photo.read_bytes() == data


def _with_mask(photo):
    mask = np.zeros((180, 240), np.uint8)
    mask[50:80, 50:80] = 255
    Image.fromarray(mask).save(photo.parent / "mask.png")
    return photo.read_bytes()


STUCK = """
import signal, sys, time
from objremove.cli.app import run
from objremove.inpainting.classical import ClassicalInpainter

def fill(self, windows, holes):
    print("filling", flush=True)
    time.sleep(60)

ClassicalInpainter.fill = fill
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with Ctrl-C ignored
sys.exit(run(sys.argv[1:]))
"""


def test_interrupted_in_the_middle_leaves_nothing_behind(photo, tmp_path):
    _with_mask(photo)
    before = set(tmp_path.iterdir())
    command_line = ["--mask", "mask.png", "--inpainter", "telea", "photo.jpg"]
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, *command_line], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=tmp_path
    )
    assert process.stderr.readline() == b"filling\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines() == [b"objremove: interrupted"]
    assert set(tmp_path.iterdir()) == before


def test_help_and_import_are_light():
    done = command("--help")
    assert done.returncode == 0
    for word in (b"--remove", b"--keep", b"--inpainter", b"detect", b"Exit codes"):
        assert word in done.stdout
    heavy = "import objremove, objremove.cli.app, sys; print([m for m in ('torch', 'cv2', 'numpy', 'PIL') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "[]", answer
