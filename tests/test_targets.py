"""The grammar of --remove, --keep, --point and --box, and which instances a request picks."""

import numpy as np
import pytest
import torch

from objremove.classes import ALIASES, COCO, NAMES, VOC
from objremove.errors import UsageError
from objremove.instances import Instance
from objremove.targets import (
    ClassTarget,
    Point,
    Targets,
    absent,
    check_known,
    choose,
    numbered,
    parse_class,
    parse_targets,
    says_all,
    spelled,
)


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("person", "person"),
        ("People", "person"),
        ("aeroplane", "airplane"),
        ("sofa", "couch"),
        ("couch", "couch"),
        ("dining_table", "dining table"),
        ("table", "dining table"),
        ("tv", "tv"),
        ("bikes", "bicycle"),
        ("buses", "bus"),
        ("15", "person"),
        ("voc:3", "bird"),
        ("coco:1", "person"),
        ("coco:90", "toothbrush"),
    ],
)
def test_a_word_means_one_class(word, label):
    assert parse_class(word) == label


def test_every_name_and_alias_is_understood():
    assert len(NAMES) == 80
    assert set(NAMES) == set(VOC[1:]) | set(COCO.values())
    for name in NAMES:
        assert parse_class(name) == name
    for alias, label in ALIASES.items():
        assert parse_class(alias) == label


@pytest.mark.parametrize(
    ("word", "hint"),
    [("persom", "person"), ("0", "1 to 20"), ("21", "1 to 20"), ("coco:12", "12"), ("xyzzy", "objremove classes")],
)
def test_what_is_no_class_is_said_with_a_way_out(word, hint):
    with pytest.raises(UsageError, match=hint):
        parse_class(word)


def test_lists_numbers_and_the_original_projects_spelling():
    assert parse_targets("person,car").labels == ("person", "car")
    assert parse_targets("3 15").labels == ("bird", "person")
    assert parse_targets([3, "coco:1"]).labels == ("bird", "person")
    assert parse_targets("person#2").remove == (ClassTarget("person", (2,)),)
    assert parse_targets("person#1-3+7").remove == (ClassTarget("person", (1, 2, 3, 7)),)
    assert parse_targets("all", known=("cat", "dog")).labels == ("cat", "dog")


@pytest.mark.parametrize("text", ["person#", "person#0", "person#3-1", "person#x", "all#2"])
def test_malformed_numbers(text):
    with pytest.raises(UsageError):
        parse_targets(text)


def test_points_and_boxes_as_text_and_values():
    targets = parse_targets(points=["10,20", "3,4,-", (5, 6), (7, 8, False)], boxes=["1,2,30,40"])
    assert targets.points == (Point(10, 20), Point(3, 4, False), Point(5, 6), Point(7, 8, False))
    targets.check_inside((100, 100))
    with pytest.raises(UsageError, match="outside the photo, which is 10x100"):
        targets.check_inside((100, 10))


@pytest.mark.parametrize("box", ["1,2,3", "5,5,5,9", "a,b,c,d", (1, 2, 3)])
def test_malformed_boxes(box):
    with pytest.raises(UsageError):
        parse_targets(boxes=[box])


@pytest.mark.parametrize(
    "request_",
    [
        {"points": (10, 20)},
        {"points": [(float("nan"), 1)]},
        {"points": ["10,20,-"]},
        {"boxes": (1, 2, 3, 4)},
        {"boxes": ["1,2,3,4"], "keep": "dog"},
    ],
    ids=["flat points", "nan", "negative only", "flat box", "keep alone"],
)
def test_requests_that_mean_nothing(request_):
    with pytest.raises(UsageError):
        parse_targets(**request_)


def test_all_is_a_word_of_its_own():
    assert says_all("all")
    assert says_all(["dog", "All "])
    assert not says_all("sports ball")
    assert not says_all(["small", 3])


def test_a_class_that_the_model_does_not_know():
    with pytest.raises(UsageError, match="maskrcnn"):
        check_known(["bench"], VOC[1:], "slim-deeplab-voc21")


def square(label, x, y, side, size=(100, 100)):
    mask = np.zeros(size, bool)
    mask[y : y + side, x : x + side] = True
    return Instance.from_mask(mask, label=label)


CROWD = [
    square("person", 0, 0, 10),
    square("person", 40, 40, 20),
    square("person", 90, 90, 5),
    square("car", 5, 60, 30),
]


def test_instances_are_numbered_by_falling_area_within_their_class():
    assert [(one.label, number) for number, one in numbered(CROWD)] == [
        ("car", 1), ("person", 1), ("person", 2), ("person", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("remove", "keep", "areas"),
    [
        ("person", "", [400, 100, 25]),
        ("person#2", "", [100]),
        ("person#2-3", "", [100, 25]),
        ("person#9", "", []),
        ("person,car", "", [900, 400, 100, 25]),
        ("person", "largest", [100, 25]),
        ("person", "center", [100, 25]),
        ("person,car", "largest", [400, 100, 25]),
        ("person,car", "car", [400, 100, 25]),
        ("person", "person#3", [400, 100]),
        ("person", "largest,person#2", [25]),
    ],
)
def test_keep_spares_part_of_what_remove_names(remove, keep, areas):
    targets = parse_targets(remove, keep=keep)
    assert [one.area for one in choose(CROWD, targets)] == areas


@pytest.mark.parametrize(
    ("remove", "keep", "lines"),
    [
        ("person#5", "", ["there is no person#5: found person#1-3"]),
        ("person#2-9,car#2+4", "", ["there is no person#4-9: found person#1-3", "there is no car#2+4: found car#1"]),
        ("person", "person#4", ["there is no person#4: found person#1-3"]),
        ("person#3,car", "", []),
        ("dog#2", "", []),
    ],
)  # fmt: skip
def test_numbers_beyond_what_was_found_are_told(remove, keep, lines):
    assert absent(CROWD, parse_targets(remove, keep=keep)) == lines


def test_nothing_named_takes_nothing():
    assert choose(CROWD, Targets()) == []


def test_requests_that_mean_the_same_are_spelled_alike():
    assert spelled("person, Dog") == spelled(["dog", "people"]) == ["dog", "person"]
    assert spelled("person#2+1,15") == ["person", "person#1-2"]
    assert spelled("all,dog") == ["all"]
    assert spelled(["largest", "car#2"]) == ["car#2", "largest"]


@pytest.mark.parametrize("request_", [None, b"dog", 12.0, ["dog", None], [b"dog"]])
def test_classes_are_text_or_whole_numbers(request_):
    with pytest.raises(UsageError, match="is no class: name it by text or by a whole number"):
        parse_targets(request_)


def test_numbers_of_numpy_are_numbers():
    assert parse_targets(np.int64(12)).labels == ("dog",)
    assert parse_targets(np.array([12, 8])).labels == ("dog", "cat")


@pytest.mark.parametrize("sign", [True, 1, "+", np.int64(1), torch.tensor(1), False, 0, "-", np.bool_(False)])
def test_the_sign_of_a_point_means_the_same_in_a_tuple_as_in_text(sign):
    (_, point) = parse_targets((), points=[(1, 1), (3.7, 4, sign)]).points
    assert (point.x, point.y, point.positive) == (3, 4, sign == "+" or sign not in (0, "-"))


@pytest.mark.parametrize("sign", [-1, 2, "no", None, 0.5])
def test_a_sign_that_says_neither_is_refused(sign):
    with pytest.raises(UsageError, match="positive being True or False"):
        parse_targets((), points=[(1, 1), (3, 4, sign)])
