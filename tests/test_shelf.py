"""The shelf: which model `auto` takes, and what it is told apart by."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from objremove import models
from objremove.remover import Remover
from objremove.shelf import EMBEDDED_PROMPTER, Shelf, chosen_from

TINY = Path(__file__).parent / "data" / "lama-tiny"


def shelf(**names: str) -> Shelf:
    given = {"segmenter": "auto", "prompter": "auto", "inpainter": "auto"} | names
    return Shelf(**given, device="cpu", precision="fp32", offline=True, threads=None, seed=0, on_download=None)


@pytest.fixture
def with_sam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SAM's weights lie on this machine (by their name)."""
    monkeypatch.setenv("OBJREMOVE_HOME", str(tmp_path))
    (tmp_path / models.get("sam_vit_b").filename).write_bytes(b"")


def test_auto_takes_sam_where_its_weights_are_here(with_sam):
    assert shelf().prompter_name == "sam_vit_b"
    assert "sam_vit_b" in chosen_from()
    assert models.get("sam_vit_b").lacks == ""


def test_weights_that_nothing_here_can_run_are_not_taken(with_sam, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    assert shelf().prompter_name == EMBEDDED_PROMPTER
    assert "sam_vit_b" not in chosen_from()
    assert models.get("sam_vit_b").lacks == 'pip install "objremove[sam]"'


def test_the_way_to_sam_names_all_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OBJREMOVE_HOME", str(tmp_path))
    photo, box = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8), (10, 10, 40, 40)
    (note,) = Remover(inpainter="telea", offline=True)(photo, boxes=[box]).warnings
    assert note.endswith("SAM does it better: objremove models pull sam_vit_b")
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    (note,) = Remover(inpainter="telea", offline=True)(photo, boxes=[box]).warnings
    assert note.endswith('better: pip install "objremove[sam]" && objremove models pull sam_vit_b')


def test_an_official_folder_is_told_apart_by_what_it_holds(tmp_path: Path):
    folder = tmp_path / "lama"
    shutil.copytree(TINY, folder)

    def identity() -> tuple[str, str | None]:
        one = shelf(inpainter=str(folder))
        return one.identity(one.inpainter())

    first = identity()
    assert first[0] == str(folder)
    assert len(first[1]) == 64
    (folder / "notes.txt").write_text("nothing of it is loaded")
    assert identity() == first
    settings = folder / "config.yaml"
    settings.write_text(settings.read_text() + "# changed\n")
    assert identity() != first
