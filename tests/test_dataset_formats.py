"""Annotation files in and out: what is not changed keeps its bytes, what is changed means what it should."""

import contextlib
import io
import json
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from drawn_datasets import HEIGHT, WIDTH, coco_rle, disc, draw_coco, draw_voc, draw_yolo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from objremove.dataset import CocoDataset, DatasetError, VocDataset, YoloDataset
from objremove.dataset.sample import Change, Edit, decode, encode, trace
from objremove.dataset.surgery import operate
from objremove.dataset.text import edit_record, read_object, read_xml, rebuild_array, splice
from objremove.dataset.yolo import joined


def copies(dataset):
    """Every photo of a dataset, nothing changed."""
    return [Edit(sample.name, sample.name) for sample in dataset]


def load_coco(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


# ------------------------------------------------------------------ text

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_json_is_read_as_json_reads_it(data, indent, ascii_only):
    text = json.dumps(data, indent=indent, ensure_ascii=ascii_only)
    members = read_object(text)
    assert {key: item.value for key, item in members.items()} == data
    assert all(json.loads(text[item.start : item.end]) == item.value for item in members.values())


@given(st.dictionaries(st.text(), json_values), st.dictionaries(st.text(), st.integers(), max_size=3))
def test_edited_records_hold_the_changes_and_nothing_else(record, changes):
    text = edit_record(json.dumps(record, indent=1), changes)
    assert json.loads(text) == {**record, **changes}


@given(st.lists(st.integers(), min_size=1), st.data())
def test_arrays_lose_and_gain_elements(values, data):
    text = json.dumps({"a": values}, indent=2)
    items = read_object(text, split={"a": lambda value: value})["a"].value
    counts = data.draw(st.lists(st.integers(0, 2), min_size=len(values), max_size=len(values)))
    texts = [[str(value)] * count for value, count in zip(values, counts, strict=True)]
    edited = splice(text, [rebuild_array(text, items, texts)])
    assert json.loads(edited)["a"] == [value for value, count in zip(values, counts, strict=True) for _ in range(count)]
    assert splice(text, [rebuild_array(text, items, [[str(value)] for value in values])]) == text


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1', '{"a": 1} x', '{"a" 1}', "{1: 2}", '{"a": 1,}'])
def test_broken_json_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011
        read_object(text)


def test_xml_elements_know_their_places():
    data = b'<?xml version="1.0"?>\n<a>\n <b x="1>0"> 1 &amp; \xc3\xa9 </b><c/>\n <b k=">"/></a>'
    root = read_xml(data)
    assert [data[one.start : one.end] for one in root.children] == [
        b'<b x="1>0"> 1 &amp; \xc3\xa9 </b>', b"<c/>", b'<b k=">"/>',
    ]  # fmt: skip
    assert root.read("b") == "1 & é"
    assert data[slice(*root.children[0].inside(data))] == b" 1 &amp; \xc3\xa9 "


# ------------------------------------------------------------------ outlines


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(5, 150), st.integers(5, 110), st.integers(0, 25)), min_size=1, max_size=4))
def test_traced_outlines_cover_the_mask(discs):
    mask = np.any([disc(*one) for one in discs], axis=0)
    traced = decode(trace(mask), mask.shape)
    outer = np.logical_xor(traced, mask)
    assert outer.sum() <= 0.02 * mask.sum() + 4 or traced[mask].all()  # gaps between discs are not drawn
    assert traced[mask].mean() > 0.97
    assert np.array_equal(decode(encode(mask), mask.shape), mask)


def test_parts_joined_for_yolo_enclose_the_same():
    mask = disc(30, 30, 12) | disc(100, 80, 20) | disc(130, 20, 8)
    polygon = joined(trace(mask))
    assert iou(decode([polygon], mask.shape), mask) > 0.97


@pytest.mark.parametrize(
    "outline",
    [
        {"size": [4, 5], "counts": "00"},
        {"size": [HEIGHT, WIDTH], "counts": [1, 2]},
        {"counts": [1]},
        {"size": [HEIGHT, WIDTH], "counts": [5, 5, HEIGHT * WIDTH - 11]},
        {"size": [HEIGHT, WIDTH], "counts": [-5, HEIGHT * WIDTH + 5]},
        {"size": [HEIGHT, WIDTH], "counts": ""},
        {"size": [HEIGHT, WIDTH], "counts": "5"},
        {"size": [HEIGHT, WIDTH], "counts": coco_rle(disc(40, 40, 14), True)["counts"][:-1]},
        [["a"] * 6],
        [[2, 2, None, 2, 10, 10]],
        [[2, 2, float("nan"), 2, 10, 10]],
        [[2, 2, float("inf"), 2, 10, 10]],
        [[2, 2, 1e9, 2, 10, 10]],
    ],
)
def test_outlines_that_mean_nothing_are_refused(outline):
    with pytest.raises(DatasetError):
        decode(outline, (HEIGHT, WIDTH))


@pytest.mark.parametrize("seed", range(4))
def test_compressed_runs_are_read_as_pycocotools_writes_them(seed):
    rng = np.random.default_rng(seed)
    mask = cv2.resize(rng.random((6, 8)), (WIDTH, HEIGHT)) > 0.5 if seed else np.zeros((HEIGHT, WIDTH), bool)
    for compressed in (True, False):
        assert np.array_equal(decode(coco_rle(mask, compressed), mask.shape), mask)


def test_polygons_may_reach_over_the_edge():
    assert decode([[-50, -50, 2 * WIDTH, -50, 2 * WIDTH, 10, -50, 10]], (HEIGHT, WIDTH))[:10].all()


def test_polygons_of_two_points_cover_nothing():
    assert not decode([[1, 2, 30, 40]], (HEIGHT, WIDTH)).any()


# ------------------------------------------------------------------ COCO


@pytest.mark.parametrize("indent", [None, 2])
def test_coco_round_trip_is_exact(tmp_path, indent):
    path = draw_coco(tmp_path, indent)
    dataset = CocoDataset(path, tmp_path / "photos")
    dataset.finish(copies(dataset), tmp_path / "out")
    assert (tmp_path / "out/annotations/instances.json").read_bytes() == path.read_bytes()


def test_coco_is_read_with_all_kinds_of_outlines(tmp_path):
    dataset = CocoDataset(draw_coco(tmp_path), tmp_path / "photos")
    assert (len(dataset), dataset.classes) == (4, ("person", "car", "bus"))
    coco = load_coco(tmp_path / "instances.json")
    for sample in dataset:
        for one in sample.annotations:
            assert np.array_equal(one.instance(sample.size).mask, coco.annToMask(coco.anns[one.key]).astype(bool))
    car, person = dataset.load("crowded.jpg").annotations
    assert (car.label, person.label, person.box) == ("car", "person", (70.0, 46.0, 99.0, 75.0))
    assert [one.crowd for one in dataset.load("empty road.jpg").annotations] == [False, True]


def test_coco_loses_only_what_is_removed(tmp_path):
    path = draw_coco(tmp_path)
    dataset = CocoDataset(path, tmp_path / "photos")
    crowded = dataset.load("crowded.jpg")
    car, person = crowded.annotations
    change = Change((40.0, 40.0, 79.25, 81.0), [[41.0, 41.0, 50.0, 41.0, 50.0, 50.123]], 900)
    edits = [
        Edit("street.jpg", "street.jpg"),
        Edit("crowded.jpg", "crowded.jpg", frozenset({person.key}), {car.key: change}),
    ]
    edited = json.loads(dataset.edited(edits))
    before = json.loads(path.read_text())
    assert [one["id"] for one in edited["images"]] == [9000, 9007]
    kept = [one for one in before["annotations"] if one["image_id"] in (9000, 9007) and one["id"] != person.key]
    kept[-1] |= {
        "bbox": [40.0, 40.0, 39.25, 41.0],
        "segmentation": [[41.0, 41.0, 50.0, 41.0, 50.0, 50.12]],
        "area": 900,
    }
    assert edited["annotations"] == kept
    assert {key: edited[key] for key in ("info", "licenses", "categories", "extra")} == {
        key: before[key] for key in ("info", "licenses", "categories", "extra")
    }
    assert dataset.edited(edits).count("0.10") == 3  # numbers keep their digits


def test_coco_photos_made_of_others_get_new_ids(tmp_path):
    dataset = CocoDataset(draw_coco(tmp_path, 1), tmp_path / "photos")
    edits = [
        Edit("street.jpg", "street.jpg"),
        Edit("street.jpg", "street.100.jpg", frozenset({100})),
        Edit("street.jpg", "street.101.jpg", frozenset({101})),
    ]
    data = json.loads(dataset.edited(edits))
    assert [(one["id"], one["file_name"]) for one in data["images"]] == [
        (9000, "street.jpg"), (9022, "street.100.jpg"), (9023, "street.101.jpg"),
    ]  # fmt: skip
    ids = [(one["id"], one["image_id"], one.get("source_id")) for one in data["annotations"]]
    assert sorted(ids) == [(100, 9000, None), (101, 9000, None), (900101, 9022, 101), (900102, 9023, 100)]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda data: data.pop("images"), "images"),
        (lambda data: data["images"].append(data["images"][0]), "same file_name"),
        (lambda data: data["images"][0].update(file_name="a/../../b.jpg"), "leads out of"),
        (lambda data: data["images"][0].update(file_name="/etc/b.jpg"), "leads out of"),
        (lambda data: data["annotations"].append(data["annotations"][0]), "same id"),
        (lambda data: data["categories"].clear(), "not listed"),
        (lambda data: data["annotations"][0].pop("image_id"), "image_id"),
    ],
)
def test_broken_coco_files_are_said_to_be(tmp_path, change, word):
    path = draw_coco(tmp_path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(DatasetError, match=word):
        list(CocoDataset(path, tmp_path / "photos"))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"bbox": [None, 1, 2, 3]}, "100 cannot be read"),
        ({"bbox": 7}, "100 cannot be read"),
        ({"category_id": None}, "category None is not listed"),
        ({"segmentation": ["abcdef"]}, "neither polygons nor an RLE"),
        ({"segmentation": 5}, "100 cannot be read"),
        ({"keypoints": [1, 2]}, "no keypoints"),
        ("category_id", "it has no 'category_id'"),
    ],
)
def test_a_broken_coco_record_is_its_photos_alone(tmp_path, change, word):
    path = draw_coco(tmp_path)
    data = json.loads(path.read_text())
    if isinstance(change, str):
        del data["annotations"][0][change]
    else:
        data["annotations"][0] |= change
    path.write_text(json.dumps(data))
    dataset = CocoDataset(path, tmp_path / "photos")
    with pytest.raises(DatasetError, match=f"annotation 100 .*{word}|annotation {word}") as caught:
        dataset.load("street.jpg")
    assert len(str(caught.value).splitlines()) == 1
    assert len(dataset.load("crowded.jpg").annotations) == 2


def test_coco_keypoints_in_the_hole_are_no_longer_labelled(tmp_path):
    path = draw_coco(tmp_path)
    data = json.loads(path.read_text())
    person = data["annotations"][0]
    person |= {"keypoints": [40, 40, 2, 28, 40, 1, 0, 0, 0, 52.5, 40.0, 2], "num_keypoints": 3}
    path.write_text(json.dumps(data))
    dataset = CocoDataset(path, tmp_path / "photos")
    before = dataset.load("street.jpg").annotations
    assert before[0].keypoints == ((40.0, 40.0), (28.0, 40.0), None, (52.5, 40.0))
    hole = np.arange(WIDTH)[None] < np.full((HEIGHT, 1), 32)
    surgery = operate(before, hole, ())
    edited = json.loads(dataset.edited([Edit("street.jpg", "street.jpg", changed=surgery.changed)]))["annotations"][0]
    assert (edited["keypoints"], edited["num_keypoints"]) == ([40, 40, 2, 0, 0, 0, 0, 0, 0, 52.5, 40.0, 2], 2)
    assert surgery.neighbours[0].to_dict()["lost_keypoints"] == 1
    assert edited["bbox"][0] == 32


# ------------------------------------------------------------------ VOC


def tree(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_voc_round_trip_is_exact(tmp_path):
    voc = draw_voc(tmp_path / "in")
    dataset = VocDataset(tmp_path / "in")
    for edit in copies(dataset):
        dataset.write_photo_labels(edit, tmp_path / "out")
    dataset.finish(copies(dataset), tmp_path / "out")
    photos = {name for name in tree(voc) if name.startswith("JPEGImages")}
    before = {name: data for name, data in tree(voc).items() if name not in photos}
    assert tree(tmp_path / "out/VOCdevkit/VOC2012") == before


def test_voc_objects_find_their_masks(tmp_path):
    draw_voc(tmp_path)
    dataset = VocDataset(tmp_path)
    car, person = dataset.load("crowded.jpg").annotations
    assert (car.key, car.label, person.key, person.label) == (1, "car", 2, "person")
    assert np.array_equal(person.instance((HEIGHT, WIDTH)).mask, disc(84, 60, 14))
    assert person.box == (70.0, 46.0, 99.0, 75.0)
    assert person.flags == ("truncated",)
    (boxed,) = dataset.load("empty_road.jpg").annotations
    assert boxed.segmentation is None


def test_voc_masks_without_boxes_are_objects_too(tmp_path):
    voc = draw_voc(tmp_path)
    (voc / "Annotations/street.xml").unlink()
    keys = {one.key: one.label for one in VocDataset(tmp_path).load("street.jpg").annotations}
    assert keys == {"mask-1": "person", "mask-2": "car"}


def test_voc_loses_the_object_in_xml_masks_and_lists(tmp_path):
    voc = draw_voc(tmp_path / "in")
    dataset = VocDataset(tmp_path / "in")
    hole = disc(84, 60, 17)
    change = Change((40.0, 40.0, 67.0, 81.0), None, 800)
    edit = Edit("crowded.jpg", "crowded.jpg", frozenset({2}), {1: change})
    dataset.write_photo_labels(edit, tmp_path / "out", hole)
    dataset.finish([edit, Edit("street.jpg", "street.jpg")], tmp_path / "out")
    out = tmp_path / "out/VOCdevkit/VOC2012"
    before = (voc / "Annotations/crowded.xml").read_text()
    person = before.index("\t<object>\n\t\t<name>person")
    expected = before[:person] + before[before.index("</annotation>") :]
    assert (out / "Annotations/crowded.xml").read_text() == expected.replace("<xmax>77</xmax>", "<xmax>67</xmax>")
    for folder in ("SegmentationClass", "SegmentationObject"):
        was, now = Image.open(voc / folder / "crowded.png"), Image.open(out / folder / "crowded.png")
        assert now.mode == "P"
        assert now.getpalette() == was.getpalette()
        was, now = np.array(was), np.array(now)
        assert not now[hole].any()
        assert np.array_equal(now[~hole], was[~hole])
    lists = out / "ImageSets/Main"
    assert (lists / "trainval.txt").read_text() == "street\ncrowded\n"
    assert (lists / "person_trainval.txt").read_text() == "street  1\ncrowded -1\n"
    assert (lists / "car_trainval.txt").read_text() == "street  1\ncrowded  1\n"


def test_voc_photos_made_of_others_stand_where_their_source_stood(tmp_path):
    draw_voc(tmp_path / "in")
    dataset = VocDataset(tmp_path / "in")
    edits = [Edit("street.jpg", "street.1.jpg", frozenset({1})), Edit("street.jpg", "street.2.jpg", frozenset({2}))]
    for edit in edits:
        dataset.write_photo_labels(edit, tmp_path / "out", np.zeros((HEIGHT, WIDTH), bool))
    dataset.finish(edits, tmp_path / "out")
    out = tmp_path / "out/VOCdevkit/VOC2012"
    assert "<filename>street.1.jpg</filename>" in (out / "Annotations/street.1.xml").read_text()
    assert (out / "ImageSets/Main/train.txt").read_text() == "street.1\nstreet.2\n"
    assert (out / "ImageSets/Main/person_trainval.txt").read_text() == "street.1 -1\nstreet.2  1\n"


def test_voc_lists_of_objects_count_those_that_are_left(tmp_path):
    voc = draw_voc(tmp_path / "in")
    lists = {
        "Layout/train.txt": "street  1\nstreet  2\ncrowded 2\nempty_road 1\n",
        "Action/jumping_train.txt": "street  1  -1\nstreet  2   1\ncrowded 1   0",
    }
    for name, text in lists.items():
        (voc / "ImageSets" / name).parent.mkdir()
        (voc / "ImageSets" / name).write_text(text)
    edits = [
        Edit("street.jpg", "street.jpg", frozenset({1})),
        Edit("crowded.jpg", "crowded.1.jpg", frozenset({1})),
        Edit("crowded.jpg", "crowded.2.jpg", frozenset({2})),
    ]
    VocDataset(tmp_path / "in").finish(edits, tmp_path / "out")
    out = tmp_path / "out/VOCdevkit/VOC2012/ImageSets"
    assert (out / "Layout/train.txt").read_text() == "street  1\ncrowded.1 1\n"
    assert (out / "Action/jumping_train.txt").read_text() == "street  1   1\ncrowded.2 1   0"


def test_broken_voc_trees_are_said_to_be(tmp_path):
    with pytest.raises(DatasetError, match="JPEGImages"):
        VocDataset(tmp_path)
    voc = draw_voc(tmp_path)
    xml = voc / "Annotations/street.xml"
    xml.write_text(xml.read_text().replace("<xmin>27</xmin>", "<xmin>left</xmin>"))
    with pytest.raises(DatasetError, match=r"street\.xml: an object has no bndbox"):
        VocDataset(tmp_path).load("street.jpg")
    xml.write_text("<annotation>")
    with pytest.raises(DatasetError, match="is no XML"):
        VocDataset(tmp_path).load("street.jpg")
    assert "car" in VocDataset(tmp_path).classes, "the other photos can be worked on"


def test_voc_photos_made_of_others_are_named_in_their_xml(tmp_path):
    voc = draw_voc(tmp_path)
    for file in [*voc.rglob("street.*")]:
        file.rename(file.with_name(f"R&B <street>{file.suffix}"))
    dataset = VocDataset(tmp_path)
    edit = Edit("R&B <street>.jpg", "R&B <street>.1.jpg", frozenset({1}))
    dataset.write_photo_labels(edit, tmp_path / "out")
    (xml,) = (tmp_path / "out").rglob("*.xml")
    assert ElementTree.parse(xml).findtext("filename") == "R&B <street>.1.jpg"


# ------------------------------------------------------------------ YOLO


@pytest.mark.parametrize("polygons", [True, False])
def test_yolo_round_trip_is_exact(tmp_path, polygons):
    path = draw_yolo(tmp_path / "in", polygons)
    dataset = YoloDataset(path)
    for edit in copies(dataset):
        dataset.write_photo_labels(edit, tmp_path / "out")
    dataset.finish(copies(dataset), tmp_path / "out")
    before = {name: data for name, data in tree(tmp_path / "in").items() if not name.startswith("images")}
    before["data.yaml"] = before["data.yaml"].replace(f"path: {tmp_path / 'in'}\n".encode(), b"")
    assert tree(tmp_path / "out") == before


def test_yolo_boxes_and_polygons_are_read(tmp_path):
    for folder, polygons in (("boxes", False), ("polygons", True)):
        dataset = YoloDataset(draw_yolo(tmp_path / folder, polygons))
        assert dataset.classes == ("person", "bicycle", "car")
        person, car = dataset.load("images/train/street.jpg").annotations
        assert (person.key, person.label, car.key, car.label) == (1, "person", 2, "car")
        assert person.box == pytest.approx((26, 26, 55, 55), abs=0.1)
        if polygons:
            assert iou(car.instance((HEIGHT, WIDTH)).mask, disc(110, 60, 20)) > 0.95
        else:
            assert car.segmentation is None


def test_yolo_loses_the_line_and_keeps_the_others(tmp_path):
    dataset = YoloDataset(draw_yolo(tmp_path / "in", polygons=False))
    name = "images/train/crowded.jpg"
    assert dataset.write_photo_labels(Edit(name, name, frozenset({2})), tmp_path / "out") == [
        tmp_path / "out/labels/train/crowded.txt"
    ]
    car, _ = (tmp_path / "in/labels/train/crowded.txt").read_text().splitlines(keepends=True)
    assert (tmp_path / "out/labels/train/crowded.txt").read_text() == car


def test_yolo_keypoints_in_the_hole_are_no_longer_labelled(tmp_path):
    path = draw_yolo(tmp_path / "in", polygons=False)
    path.write_text(path.read_text() + "kpt_shape: [3, 3]\n")
    labels = tmp_path / "in/labels/train/street.txt"
    labels.write_text("0 .25 .35 .2 .3 0.25 0.35 2 0.30 0.40 1 0 0 0\n")
    dataset = YoloDataset(path)
    name = "images/train/street.jpg"
    (person,) = dataset.load(name).annotations
    assert person.keypoints == ((40.0, 42.0), (48.0, 48.0), None)
    hole = disc(48, 48, 3)
    edit = Edit(name, name, changed=operate([person], hole, ()).changed)
    dataset.write_photo_labels(edit, tmp_path / "out", hole)
    assert (tmp_path / "out/labels/train/street.txt").read_text() == "0 .25 .35 .2 .3 0.25 0.35 2 0 0 0 0 0 0\n"


def test_yolo_polygons_are_drawn_anew(tmp_path):
    dataset = YoloDataset(draw_yolo(tmp_path / "in"))
    name = "images/train/crowded.jpg"
    left = disc(60, 60, 20) & ~disc(84, 60, 17)
    edit = Edit(name, name, frozenset({2}), {1: Change((40.0, 40.0, 79.0, 81.0), trace(left), int(left.sum()))})
    dataset.write_photo_labels(edit, tmp_path / "out")
    dataset.finish([edit], tmp_path / "out")
    (tmp_path / "out/images/train").mkdir(parents=True)
    (tmp_path / "out/images/val").mkdir(parents=True)
    (tmp_path / "in" / name).rename(tmp_path / "out" / name)
    (car,) = YoloDataset(tmp_path / "out/data.yaml").load(name).annotations
    assert iou(car.instance((HEIGHT, WIDTH)).mask, left) > 0.98


def test_yolo_lists_of_photos_are_kept(tmp_path):
    path = draw_yolo(tmp_path / "in")
    (tmp_path / "in/train.txt").write_text("./images/train/street.jpg\n./images/train/crowded.jpg\n")
    path.write_text(path.read_text().replace("train: images/train", "train: train.txt"))
    dataset = YoloDataset(tmp_path / "in")
    dataset.finish([Edit("images/train/crowded.jpg", "images/train/crowded.2.jpg", frozenset({2}))], tmp_path / "out")
    assert (tmp_path / "out/train.txt").read_text() == "./images/train/crowded.2.jpg\n"


@pytest.mark.parametrize("place", ["train.txt", "splits/train.txt", "images/lists/train.txt", "images/train.txt"])
def test_yolo_lists_are_read_by_ultralytics_wherever_they_lie(tmp_path, place):
    path = draw_yolo(tmp_path / "in")
    listing = tmp_path / "in" / place
    listing.parent.mkdir(exist_ok=True)
    listing.write_text(f"{tmp_path}/in/images/train/street.jpg\n")
    path.write_text(path.read_text().replace("train: images/train", f"train: {place}"))
    name = "images/train/street.jpg"
    YoloDataset(path).finish([Edit(name, name)], tmp_path / "out")
    (line,) = (tmp_path / "out" / place).read_text().splitlines()
    parent = f"{(tmp_path / 'out' / place).parent}/"
    read = line.replace("./", parent) if line.startswith("./") else line  # so ultralytics does, each of them
    assert read == str(tmp_path / "out" / name)


def test_yolo_exports_that_point_one_folder_too_high(tmp_path):
    path = draw_yolo(tmp_path / "in")
    (tmp_path / "in/train").mkdir()
    for folder in ("images", "labels"):
        (tmp_path / "in" / folder / "train").rename(tmp_path / "in/train" / folder)
    path.write_text("train: ../train/images\nnc: 3\nnames: [person, bicycle, car]\n")
    sample = YoloDataset(path).load("train/images/street.jpg")
    assert [one.label for one in sample.annotations] == ["person", "car"]


@pytest.mark.parametrize(
    ("splits", "clean"),
    [
        ("train: {root}/images/train\nval: ./images/val\n", "train: images/train\nval: ./images/val\n"),
        (
            "train: '../images/train'\nval: [../images/val, images/train]\n",
            "train: 'images/train'\nval: [images/val, images/train]\n",
        ),
        ("train:  # all\n- {root}/images\nval: images/../images/val\n", "train:  # all\n- images\nval: images/val\n"),
    ],
)
def test_yolo_splits_that_lead_elsewhere_are_found_beside_the_result(tmp_path, splits, clean):
    path, names = draw_yolo(tmp_path / "in"), "names: [person, bicycle, car]\n"
    path.write_text(splits.format(root=tmp_path / "in") + names)
    dataset = YoloDataset(path)
    dataset.finish([], tmp_path / "out")
    assert (tmp_path / "out/data.yaml").read_text() == clean + names


@pytest.mark.parametrize("line", ["7 .5 .5 .1 .1", "0 .5 .5", "-1 .5 .5 .1 .1", "0 .5 nan .1 .1", "person .5 .5 .1 .1"])
def test_broken_yolo_lines_are_said_to_be(tmp_path, line):
    dataset = YoloDataset(draw_yolo(tmp_path))
    (tmp_path / "labels/train/street.txt").write_text(f"0 .5 .5 .1 .1\n{line}\n")
    with pytest.raises(DatasetError, match=r"street\.txt: line 2"):
        dataset.load("images/train/street.jpg")
