"""The second look: when it is taken, and what of it counts."""

import numpy as np

from objremove.instances import Instance
from objremove.segmentation.second_look import SURE, look_again
from objremove.targets import numbered

PHOTO = np.zeros((40, 60, 3), np.uint8)


def block(label, columns, score=0.9):
    mask = np.zeros(PHOTO.shape[:2], bool)
    mask[:, columns] = True
    return Instance.from_mask(mask, label=label, score=score, source="toy")


class Twice:
    """A segmenter whose second look sees what it was told to."""

    name, classes = "toy", ("dog", "cat")

    def __init__(self, *sees):
        self.sees, self.asked = sees, None

    def find(self, pixels, labels, *, confidence=None):
        return []

    def look_again(self, pixels, labels, *, confidence=None):
        self.asked = set(labels)
        return [one for one in self.sees if one.label in labels]


def test_only_what_was_not_surely_found_is_looked_for_again():
    toy = Twice(block("dog", np.s_[30:50]), block("cat", np.s_[30:50]))
    found = [block("dog", np.s_[:20], score=SURE), block("cat", np.s_[:4], score=SURE - 0.01)]
    (cat,) = look_again(toy, PHOTO, ["dog", "cat"], found)
    assert toy.asked == {"cat"}
    assert (cat.label, cat.second_look) == ("cat", True)


def test_an_object_that_was_mostly_found_before_does_not_come_twice():
    weak = block("dog", np.s_[:30], score=0.5)
    assert look_again(Twice(block("dog", np.s_[:40])), PHOTO, ["dog"], [weak]) == []
    assert look_again(Twice(block("dog", np.s_[:41])), PHOTO, ["dog"], [weak]), "the ears of a dog whose face was found"
    assert look_again(Twice(block("dog", np.s_[:20])), PHOTO, ["dog"], [block("cat", np.s_[:20])]), "another class"


def test_a_segmenter_that_looks_once_adds_nothing():
    class Once:
        name, classes = "once", ("dog",)

        def find(self, pixels, labels, *, confidence=None):
            return []

    assert look_again(Once(), PHOTO, ["dog"], []) == []


def test_what_was_found_before_keeps_its_number():
    weak = block("dog", np.s_[:4], score=0.5)
    seen = look_again(Twice(block("dog", np.s_[30:50]), block("dog", np.s_[50:58])), PHOTO, ["dog"], [weak])
    assert [(number, one.area // 40) for number, one in numbered([*seen, weak])] == [(1, 4), (2, 20), (3, 8)]
