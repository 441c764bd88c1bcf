"""The second look: when it is taken, and what of it counts."""

import numpy as np

from objremove.instances import Instance, count_objects
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


def test_what_a_second_look_sees_more_of_counts_with_what_was_found():
    found = [block("dog", np.s_[:10], score=0.5), block("dog", np.s_[12:20], score=0.5)]
    more = look_again(Twice(block("dog", np.s_[5:40]), block("dog", np.s_[45:55])), PHOTO, ["dog"], found)
    assert [one.extends for one in more] == [True, False]
    assert count_objects([*found, *more]) == {"dog": 3}
    assert count_objects(more[:1]) == {"dog": 1}, "who removes only that removes a dog"
    kept = look_again(Twice(block("dog", np.s_[5:40])), PHOTO, ["dog"], found, staying=[block("cat", np.s_[30:])])
    assert [(one.extends, one.box[2]) for one in kept] == [(True, 30)]
    beside = look_again(Twice(block("dog", np.s_[19:40])), PHOTO, ["dog"], found)
    assert [one.extends for one in beside] == [False], "another dog, that touches the first"
    part = more[0].minus(block("cat", np.s_[:15]).mask)
    assert (part.second_look, part.extends, part.to_dict()["extends"]) == (True, True, True)


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
