"""Requests judged: what counts as present, absent and answered, and that the second look judged is the one that users get."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torchmetrics")
pytest.importorskip("matplotlib")

from PIL import Image
from typer.testing import CliRunner

import objremove
from objremove import models
from objremove.classes import VOC
from objremove.cli.evaluate import app
from objremove.evaluation.looks import LookScores, second_looks, vocabularies
from objremove.evaluation.output import code
from objremove.instances import Instance
from objremove.remover import Remover
from objremove.training.files import Record

CAR, CAT, DOG = (VOC.index(name) for name in ("car", "cat", "dog"))
SEGMENTER = "slim-deeplab-voc21"
SAMPLE = Path(__file__).parents[1] / "samples" / "dogs.jpg"


def field(**areas: int) -> np.ndarray:
    """(100, 100) labels: the first columns of the top half with each class, 100 being all of it; the rest is background."""
    labels = np.zeros((100, 100), np.uint8)
    start = 0
    for name, columns in areas.items():
        labels[:50, start : start + columns] = 255 if name == "unknown" else VOC.index(name)
        start += columns
    return labels


def block(label: int, columns: slice) -> Instance:
    """An instance over these columns of the top half."""
    mask = np.zeros((100, 100), np.bool_)
    mask[:50, columns] = True
    found = Instance.from_mask(mask, label=VOC[label], score=0.9)
    assert found
    return found


def asked(labels: np.ndarray, first: list[Instance], second: list[Instance], **limits: set[int]) -> LookScores:
    scores = LookScores()
    scores.add(labels, first, second, **{"known": {CAR, CAT, DOG}, "vocabulary": {CAR, CAT, DOG}, **limits})
    return scores


def figures(one: LookScores, label: int) -> tuple[list[int], list[int]]:
    """[requests, first, second] of a class where present, and where absent."""
    present, absent = (
        [int(counts[label]) for counts in (of.requests, of.first, of.second)] for of in (one.present, one.absent)
    )
    return present, absent


class TestRequests:
    def test_the_first_answer_stays_and_the_second_look_adds_to_it(self):
        scores = asked(field(cat=20, dog=20), [block(CAT, np.s_[:20])], [block(DOG, np.s_[20:40])])
        assert figures(scores, CAT) == ([1, 1, 1], [0, 0, 0])
        assert figures(scores, DOG) == ([1, 0, 1], [0, 0, 0])
        assert figures(scores, CAR) == ([0, 0, 0], [1, 0, 0])

    @pytest.mark.parametrize(("columns", "answered"), [(6, 1), (5, 0)])
    def test_an_answer_overlaps_by_more_than_a_quarter(self, columns: int, answered: int):
        assert figures(asked(field(cat=20), [block(CAT, np.s_[:columns])], []), CAT)[0] == [1, answered, answered]

    @pytest.mark.parametrize(("columns", "whole"), [(18, 1), (17, 0)])
    def test_an_object_is_whole_where_all_that_is_found_of_it_covers_nine_tenths(self, columns: int, whole: int):
        dogs = [block(DOG, np.s_[:10]), block(CAT, np.s_[:20])]
        scores = asked(field(dog=20), dogs, [block(DOG, np.s_[8:columns])])
        assert [int(of[DOG]) for of in (scores.whole.requests, scores.whole.first, scores.whole.second)] == [
            1,
            0,
            whole,
        ]

    @pytest.mark.parametrize(("columns", "alone"), [(26, 1), (27, 0)])
    def test_an_object_goes_alone_where_three_quarters_of_all_that_is_found_lie_on_it(self, columns: int, alone: int):
        scores = asked(field(dog=20, unknown=10), [block(CAT, np.s_[60:])], [block(DOG, np.s_[:10])])
        assert [int(of[DOG]) for of in (scores.alone.requests, scores.alone.first, scores.alone.second)] == [1, 0, 1]
        spilt = asked(field(dog=20), [block(DOG, np.s_[:20])], [block(DOG, np.s_[18:columns])])
        assert [int(of[DOG]) for of in (spilt.alone.first, spilt.alone.second)] == [1, alone]
        unknown = asked(field(dog=20, unknown=80), [block(DOG, np.s_[:])], [])
        assert int(unknown.alone.first[DOG]) == 1, "what nobody knows is no mistake"

    def test_something_found_elsewhere_is_no_answer(self):
        assert figures(asked(field(cat=20), [block(CAT, np.s_[60:80])], []), CAT)[0] == [1, 0, 0]

    def test_unknown_pixels_do_not_spoil_an_answer(self):
        scores = asked(field(cat=20, unknown=80), [block(CAT, np.s_[:100])], [])
        assert figures(scores, CAT)[0] == [1, 1, 1]

    def test_anything_found_of_an_absent_class_counts(self):
        scores = asked(field(cat=20), [block(CAR, np.s_[90:])], [block(DOG, np.s_[:20])])
        assert figures(scores, CAR)[1] == [1, 1, 1]
        assert figures(scores, DOG)[1] == [1, 0, 1]

    def test_a_sliver_is_neither_present_nor_absent(self):
        assert figures(asked(field(cat=1), [], []), CAT) == ([0, 0, 0], [0, 0, 0])

    def test_nothing_is_absent_where_much_is_unknown(self):
        assert figures(asked(field(unknown=2), [], []), CAT)[1] == [0, 0, 0]
        assert figures(asked(field(unknown=1), [], []), CAT)[1] == [1, 0, 0]

    def test_nothing_is_absent_that_the_source_never_labels(self):
        scores = asked(field(cat=20), [], [], vocabulary={CAT, CAR})
        assert figures(scores, DOG)[1] == [0, 0, 0]
        assert figures(scores, CAR)[1] == [1, 0, 0]

    def test_a_class_that_the_segmenter_does_not_know_is_not_asked_for(self):
        scores = asked(field(cat=20), [], [], known={CAR})
        assert scores.present.requests.sum() == 0
        assert scores.absent.requests.sum() == 1

    def test_a_source_labels_what_any_of_its_photos_has(self):
        records = [
            Record("a", b"", b"", source, "human", classes, Path())
            for source, classes in (("x", (CAT,)), ("x", (DOG,)))
        ]
        records.append(Record("b", b"", b"", "roads", "human", (CAR,), Path()))
        assert vocabularies(records) == {"x": {CAT, DOG}, "roads": {CAR}}


class TestSecondLook:
    def test_it_is_what_naming_the_class_finds(self):
        """One pass for all classes answers as each request by itself does."""
        picture = Image.open(SAMPLE)
        picture.thumbnail((300, 300))
        photo = np.asarray(picture)
        once = Remover(SEGMENTER, second_look=False, refine_masks=False)
        first = once.find(photo)
        second = second_looks(once, photo, first)
        assert {one.label for one in second}
        named = Remover(shelf=once.shelf, refine_masks=False)
        for name in ("tv", "dog", "cat", "sheep"):
            boxes = [one.box for one in [*first, *second] if one.label == name]
            assert boxes == [one.box for one in named.find(photo, name)]

    def test_a_segmenter_without_one_sees_nothing_more(self, remover: Remover):
        assert second_looks(remover, np.zeros((40, 40, 3), np.uint8), []) == []


class TestReport:
    def test_a_weight_file_is_judged_and_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        import cv2

        monkeypatch.setenv("OBJREMOVE_HOME", str(tmp_path / "home"))
        located = models.locate(SEGMENTER)
        assert located
        weights = tmp_path / "mine.safetensors"
        weights.write_bytes(located.read_bytes())
        photos, out = tmp_path / "photos", tmp_path / "out"
        photos.mkdir()
        for index, name in enumerate(("dog", "car")):
            cv2.imwrite(str(photos / f"{index}.png"), np.full((100, 100, 3), 90, np.uint8))
            cv2.imwrite(str(photos / f"{index}.seg.png"), field(**{name: 20}))
        words = ["removal", photos, "--find-only", "--segmenter", weights, "--out", out]
        outcome = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False, standalone_mode=False)
        assert outcome.return_value == 0
        assert "shares of requests" in outcome.output
        report = (out / "report.md").read_text()
        assert f"mine.safetensors (sha256 {models.sha256(weights)[:16]})" in report
        assert f"Code: {code()}." in report
        with (out / "requests.csv").open() as file:
            lines = {line["class"]: line for line in csv.DictReader(file)}
        assert list(lines) == ["all classes", "car", "dog"]
        assert (lines["all classes"]["present"], lines["all classes"]["absent"]) == ("2", "2")
        assert (lines["dog"]["present"], lines["dog"]["absent"]) == ("1", "1")

    def test_an_installed_package_states_its_version_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(objremove, "__file__", str(tmp_path / "objremove" / "__init__.py"))
        assert code() == f"objremove {objremove.__version__}"
