"""The command line as a person and as a script use it."""

import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import ColourSegmenter, scene
from PIL import Image

from objremove.cli.app import run


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


def test_some_photos_failing_is_exit_3_and_the_others_are_done(photo, tmp_path, capsys):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:600])
    assert remove("-r", "person", broken, photo, "-o", tmp_path / "out") == 3
    assert (tmp_path / "out" / "photo.jpg").exists()
    err = capsys.readouterr().err
    assert "broken.jpg" in err
    assert "1 of 2 photos done" in err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["photo.jpg"], 2, "say what to remove"),
        (["-r", "person"], 2, "PHOTO"),
        (["-r", "persom", "photo.jpg"], 2, "did you mean person"),
        (["-r", "person", "missing.jpg"], 1, "missing.jpg"),
        (["-r", "person", "."], 1, "folder"),
        (["-r", "3", "15", "photo.jpg"], 2, "--remove 3,15"),
        (["-r", "person", "photo.jpg", "--point", "9999,1"], 2, "outside the photo"),
        (["-r", "person", "photo.jpg", "--box", "1,2,3"], 2, "x0,y0,x1,y1"),
        (["-r", "person", "photo.jpg", "--mask", "small.png"], 2, "4x4"),
        (["-r", "person", "photo.jpg", "--dilate", "wide"], 2, "--dilate"),
        (["-r", "person", "photo.jpg", "--inpainter", "big-lamma"], 2, "big-lama"),
        (["-r", "person", "photo.jpg", "--inpainter", "big-lama", "--offline"], 1, "big-lama"),
        (["-r", "person", "photo.jpg", "--device", "cuda:77"], 2, "cuda:77"),
        (["-r", "person", "photo.jpg", "--max-megapixels", "0.01"], 1, "--max-megapixels"),
        (["-r", "person", "photo.jpg", "-o", "/proc/nowhere/x.jpg"], 1, "/proc"),
        (["-r", "person", "photo.jpg", "--nonsense"], 2, "--nonsense"),
        (["-r", "person", "photo.jpg", "--format", "xyz"], 2, "'xyz'"),
        (["-r", "person", "photo.jpg", "-o", "clean.docx"], 2, "docx"),
        (["-r", "person", "photo.jpg", "-"], 2, "'-' stands for one photo"),
    ],
)
def test_bad_input_is_one_line_and_a_code(photo, tmp_path, capsys, arguments, code, says):
    Image.new("L", (4, 4)).save(tmp_path / "small.png")
    assert run(["--inpainter", "telea", *arguments]) == code
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


def test_version(capsys):
    import objremove

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"objremove {objremove.__version__}\n"


def test_classes_models_and_doctor(capsys):
    assert run(["classes"]) == 0
    assert "aeroplane" in capsys.readouterr().out
    assert run(["models", "list"]) == 0
    assert "big-lama" in capsys.readouterr().out
    assert run(["models", "verify"]) == 0
    assert "slim-deeplab-voc21: well" in capsys.readouterr().out
    assert run(["models", "path", "slim-deeplab-voc21"]) == 0
    assert os.path.exists(capsys.readouterr().out.strip())
    assert run(["models", "path", "sam_vit_b"]) == 1
    assert run(["doctor"]) == 0
    assert "all well" in capsys.readouterr().out


def command(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "objremove", *arguments], capture_output=True, timeout=120, **options)


def test_a_pipe_carries_the_photo_and_nothing_else(photo):
    done = command("--mask", "mask.png", "--inpainter", "telea", "-", input=_with_mask(photo))
    assert done.returncode == 0, done.stderr
    assert Image.open(io.BytesIO(done.stdout)).format == "JPEG"
    assert b"removed mask" in done.stderr


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
    assert b"Traceback" not in err
    assert set(tmp_path.iterdir()) == before


def test_help_and_import_are_light():
    done = command("--help")
    assert done.returncode == 0
    for word in (b"--remove", b"--keep", b"--inpainter", b"detect", b"Exit codes"):
        assert word in done.stdout
    heavy = "import objremove, objremove.cli.app, sys; print([m for m in ('torch', 'cv2', 'numpy', 'PIL') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "[]", answer
