"""What becomes of labels around a hole, in cases worked out by hand; and class names."""

import json

import numpy as np
import pytest

from objremove.dataset.retouch import covered, request_for, unfilled
from objremove.dataset.sample import Annotation, Change, decode, encode
from objremove.dataset.surgery import operate
from objremove.dataset.vocabulary import for_segmenter, resolve
from objremove.errors import UsageError
from objremove.instances import Instance

SIZE = (20, 30)


def rectangle(x0, y0, x1, y1):
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def polygon(x0, y0, x1, y1):
    return [[float(value) for value in (x0, y0, x1, y0, x1, y1, x0, y1)]]


def test_an_instance_minus_a_mask():
    one = Instance.from_mask(rectangle(10, 5, 20, 15), label="car", score=0.5, boundary_error=2.0, source="model")
    assert one.minus(rectangle(0, 0, 10, 20)) is one
    assert one.minus(rectangle(0, 0, 30, 20)) is None
    left = one.minus(rectangle(0, 0, 14, 20))
    assert np.array_equal(left.mask, rectangle(14, 5, 20, 15))
    assert (left.label, left.score, left.boundary_error, left.source) == ("car", 0.5, 2.0, "model")


def test_a_neighbour_keeps_what_is_left_of_it():
    # A 10 x 10 object; the hole takes its 4 left columns. The annotated box is drawn a little loosely.
    one = Annotation(7, "car", (9.6, 4.8, 20.3, 15.4), polygon(10, 5, 20, 15))
    surgery = operate([one], rectangle(0, 0, 14, 20), gone=())
    (neighbour,) = surgery.neighbours
    assert (neighbour.became, neighbour.visible) == ("recomputed", 0.6)
    change = surgery.changed[7]
    assert change.box == (14.0, 4.8, 20.3, 15.4)  # one side moved, the others are what they were
    assert change.area == 60
    assert isinstance(change.segmentation, list)
    assert np.array_equal(decode(change.segmentation, SIZE), rectangle(14, 5, 20, 15))


def test_a_hole_in_the_middle_becomes_an_rle_because_polygons_have_no_gaps():
    one = Annotation(7, "car", (10.0, 5.0, 20.0, 15.0), polygon(10, 5, 20, 15))
    change = operate([one], rectangle(13, 8, 17, 12), gone=()).changed[7]
    assert isinstance(change.segmentation, dict)
    assert np.array_equal(decode(change.segmentation, SIZE), rectangle(10, 5, 20, 15) & ~rectangle(13, 8, 17, 12))
    assert (change.box, change.area) == ((10.0, 5.0, 20.0, 15.0), 84)


def test_an_rle_stays_an_rle():
    one = Annotation(7, "car", (10.0, 5.0, 20.0, 15.0), encode(rectangle(10, 5, 20, 15)), crowd=True)
    change = operate([one], rectangle(0, 0, 14, 20), gone=()).changed[7]
    assert change.segmentation == encode(rectangle(14, 5, 20, 15))


def test_keypoints_in_the_hole_are_lost_though_the_mask_is_whole():
    hole = rectangle(2, 2, 6, 6)
    one = Annotation(
        7, "person", (10.0, 5.0, 20.0, 15.0), polygon(10, 5, 20, 15), keypoints=((12, 7), (3.5, 5.9), None)
    )
    surgery = operate([one], hole, gone=())
    assert [(one.became, one.visible, one.lost_keypoints) for one in surgery.neighbours] == [("recomputed", 1.0, 1)]
    change = surgery.changed[7]
    assert (change.box, change.segmentation, change.lost_keypoints) == (one.box, None, (1,))
    assert Change.from_dict(json.loads(json.dumps(change.to_dict()))).lost_keypoints == (1,)


def test_an_outline_that_encloses_nothing_falls_back_to_the_box():
    one = Annotation(7, "car", (10.0, 5.0, 20.0, 15.0), [[10.0, 5.0, 20.0, 15.0]])
    request = request_for([one], {7}, SIZE)
    assert request.boxes == [(10, 5, 20, 15)]
    assert unfilled([one], {7}, rectangle(0, 0, 5, 5)) == [7]
    assert unfilled([one], {7}, rectangle(10, 5, 15, 15)) == []
    nowhere = Annotation(8, "car", None, [[10.0, 5.0, 20.0, 15.0]])
    assert unfilled([nowhere], {8}, rectangle(0, 0, 30, 20)) == [8]


@pytest.mark.parametrize(("columns", "became"), [(7, "recomputed"), (8, "dropped"), (10, "dropped")])
def test_too_little_left_drops_the_label(columns, became):
    one = Annotation(7, "car", (10.0, 5.0, 20.0, 15.0), polygon(10, 5, 20, 15))
    surgery = operate([one], rectangle(0, 0, 10 + columns, 20), gone=(), min_visible=0.25)
    assert surgery.neighbours[0].became == became
    assert surgery.dropped == ({7} if became == "dropped" else set())
    assert set(surgery.changed) == ({7} if became == "recomputed" else set())


def test_a_box_without_a_mask_is_flagged_or_dropped_but_never_guessed():
    box = Annotation(1, "car", (10.0, 5.0, 20.0, 15.0))
    flagged = operate([box], rectangle(0, 0, 16, 20), gone=())
    assert (flagged.neighbours[0].became, flagged.neighbours[0].visible, dict(flagged.changed)) == ("flagged", 0.4, {})
    assert operate([box], rectangle(0, 0, 19, 20), gone=()).dropped == {1}


def test_what_the_hole_does_not_touch_is_not_mentioned():
    annotations = [
        Annotation(1, "car", (10.0, 5.0, 20.0, 15.0), polygon(10, 5, 20, 15)),
        Annotation(2, "car", (21.0, 5.0, 25.0, 15.0)),
        Annotation(3, "person", (0.0, 0.0, 9.0, 9.0), polygon(0, 0, 9, 9)),
        Annotation(4, "bus", None, None),
    ]
    surgery = operate(annotations, rectangle(0, 0, 10, 10), gone={3})
    assert surgery.neighbours == ()
    assert dict(surgery.changed) == {}


def test_the_hole_of_a_segmenter_takes_what_it_covers():
    annotations = [
        Annotation(1, "car", (0.0, 0.0, 10.0, 10.0), polygon(0, 0, 10, 10)),  # 60 % of it is covered
        Annotation(2, "car", (2.0, 0.0, 12.0, 10.0), polygon(2, 0, 12, 10)),  # 40 %
        Annotation(3, "car", (2.0, 0.0, 12.0, 10.0)),  # 40 % of a box, most of what an object fills of it
        Annotation(4, "car", (3.0, 0.0, 13.0, 10.0)),  # 30 %
    ]
    assert covered(annotations, rectangle(0, 0, 6, 20)) == {1, 3}


def test_requests_hold_masks_boxes_and_what_stays():
    annotations = [
        Annotation(1, "car", (0.0, 0.0, 10.0, 10.0), polygon(0, 0, 10, 10)),
        Annotation(2, "car", (12.2, 3.7, 40.0, 11.0)),
        Annotation(3, "bus", (15.0, 0.0, 20.0, 10.0), polygon(15, 0, 20, 10)),
        Annotation(4, "car", (50.0, 50.0, 60.0, 60.0)),  # wholly outside of the photo
    ]
    request = request_for(annotations, {1, 2, 4}, SIZE, find=["car"])
    assert [one.area for one in request.instances] == [100]
    assert [one.area for one in request.spare] == [50]
    assert request.boxes == [(12, 3, 30, 11)]
    assert request.remove == ["car"]


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        ("car", ("car",)),
        ("CAR, aeroplane", ("car", "aeroplane")),
        ("airplane", ("aeroplane",)),
        (["couch", "sofa"], ("sofa",)),
        ("people", ("man", "woman")),
        ("man", ("man",)),
        ("voc:7", ("car",)),
        ("Traffic-Cone", ("traffic-cone",)),
        ("all", ("car", "aeroplane", "sofa", "man", "woman", "traffic-cone")),
    ],
)
def test_names_are_found_in_the_datasets_own_words(request_, found):
    assert resolve(request_, ("car", "aeroplane", "sofa", "man", "woman", "traffic-cone")) == found


@pytest.mark.parametrize(
    ("request_", "hint"),
    [
        ("traffic cone", "did you mean traffic-cone"),
        ("crar", "did you mean car"),
        ("zebra", "it has car, traffic-cone"),
        ("15", "voc:15"),
        ("car#2", "--fraction"),
        (" , ", "nothing to remove"),
    ],
)
def test_unknown_names_are_answered_with_the_closest(request_, hint):
    with pytest.raises(UsageError, match=hint) as error:
        resolve(request_, ("car", "traffic-cone"))
    assert error.value.exit_code == 2


def test_segmenters_are_asked_in_their_own_words():
    assert for_segmenter(["aeroplane", "man"]) == {"aeroplane": "airplane", "man": "person"}
    with pytest.raises(UsageError, match="traffic-cone"):
        for_segmenter(["traffic-cone"])
