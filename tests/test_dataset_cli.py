"""`objremove dataset` from end to end: what trainers read afterwards, and what is there after a crash."""

import contextlib
import io
import json
import os

import cv2
import numpy as np
import pytest
from conftest import BLUE, RED, ColourSegmenter
from drawn_datasets import PHOTOS, draw_coco, draw_voc, draw_yolo
from PIL import Image
from pycocotools.coco import COCO
from torchvision import datasets

from objremove.cli.app import run
from objremove.dataset import VocDataset, YoloDataset
from objremove.dataset.sample import decode


@pytest.fixture(autouse=True)
def colours(monkeypatch, tmp_path):
    """The toy segmenter under the name of the embedded one; the working folder is a fresh one."""
    from objremove import shelf

    monkeypatch.setenv("OBJREMOVE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(shelf.segmentation, "load", lambda *args, **options: ColourSegmenter())
    monkeypatch.chdir(tmp_path)


def dataset(*arguments):
    return run(["dataset", "--inpainter", "telea", "--jobs", "2", "-q", *map(str, arguments)])


def on_coco(tmp_path, *arguments, out="out"):
    if not (tmp_path / "photos").exists():
        draw_coco(tmp_path)
    return dataset("--coco", "instances.json", "--images", "photos", "-o", out, *arguments)


def load_coco(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def report(out):
    return {line["photo"]: line for line in map(json.loads, (out / "report.jsonl").read_text().splitlines())}


def shows(path, colour):
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return bool((np.abs(pixels - colour).max(axis=-1) < 60).sum() > 20)


def tree(root):
    files = (path for path in root.rglob("*") if path.is_file() and ".objremove" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files if path.name != "report.jsonl"}


# ------------------------------------------------------------------ COCO


def test_clean_coco(tmp_path):
    assert on_coco(tmp_path, "--remove", "people") == 0
    out = tmp_path / "out"
    coco = load_coco(out / "annotations/instances.json")
    assert sorted(coco.imgs) == [9000, 9007, 9014, 9021]
    assert [one["category_id"] for one in coco.anns.values()] == [3, 3, 3]
    for name, discs in PHOTOS.items():
        assert not shows(out / "photos" / name, RED)
        assert shows(out / "photos" / name, BLUE) == any(disc[3] == BLUE for disc in discs)
    assert os.path.samefile(out / "photos/nobody.jpg", tmp_path / "photos/nobody.jpg")
    lines = report(out)
    assert {name: line["status"] for name, line in lines.items()} == {
        "photos/street.jpg": "removed",
        "photos/crowded.jpg": "removed",
        "photos/empty road.jpg": "removed",  # of its crowd
        "photos/nobody.jpg": "unmatched",
    }
    line = lines["photos/street.jpg"]
    assert (line["labels"]["removed"], line["seed"], line["models"]) == ([100], 0, {"telea": None})


def test_labels_match_pixels_in_every_result(tmp_path):
    on_coco(tmp_path, "--remove", "person")
    coco = load_coco(tmp_path / "out/annotations/instances.json")
    for photo in coco.imgs.values():
        pixels = np.asarray(Image.open(tmp_path / "out/photos" / photo["file_name"])).astype(int)
        blue = np.abs(pixels - BLUE).max(axis=2) < 60
        labelled = np.zeros(blue.shape, bool)
        for one in coco.imgToAnns[photo["id"]]:
            labelled |= coco.annToMask(one).astype(bool)
        assert (blue & labelled).sum() >= 0.88 * labelled.sum()


def test_torchvision_reads_the_result(tmp_path):
    on_coco(tmp_path, "--remove", "person", "--untouched", "omit")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = datasets.CocoDetection(tmp_path / "out/photos", tmp_path / "out/annotations/instances.json")
    wrapped = datasets.wrap_dataset_for_transforms_v2(coco, target_keys=("boxes", "masks", "labels"))
    assert [target["labels"].tolist() for _, target in wrapped] == [[3], [3], [3]]


def test_crowds_are_removed_as_a_region_or_their_photo_is_left_out(tmp_path):
    on_coco(tmp_path, "--remove", "person")
    before = np.asarray(Image.open(tmp_path / "photos/empty road.jpg")).astype(int)
    after = np.asarray(Image.open(tmp_path / "out/photos/empty road.jpg")).astype(int)
    assert np.abs(before - after)[100:115, 20:60].sum() > 0
    assert on_coco(tmp_path, "--remove", "person", "--crowd", "skip", out="other") == 0
    assert report(tmp_path / "other")["photos/empty road.jpg"]["reason"] == "holds a crowd of person"
    assert sorted(load_coco(tmp_path / "other/annotations/instances.json").imgs) == [9000, 9007, 9021]


def test_neighbours_that_the_hole_takes_a_part_of(tmp_path):
    path = draw_coco(tmp_path)
    data = json.loads(path.read_text())
    car = next(one for one in data["annotations"] if one["image_id"] == 9007 and one["category_id"] == 3)
    square = {"x0": 40, "x1": 95, "y0": 55, "y1": 65}  # the car is labelled across the person, too
    car["segmentation"] = [
        [square["x0"], square["y0"], square["x1"], square["y0"], square["x1"], square["y1"], square["x0"], square["y1"]]
    ]
    car["bbox"] = [40, 55, 55, 10]
    path.write_text(json.dumps(data))
    on_coco(tmp_path, "--remove", "person")
    new = load_coco(tmp_path / "out/annotations/instances.json").anns[car["id"]]
    assert new["bbox"][:2] == [40, 55]
    assert 25 < new["bbox"][2] < 55
    left = decode(new["segmentation"], (120, 160))
    assert new["area"] == left.sum()
    (neighbour,) = report(tmp_path / "out")["photos/crowded.jpg"]["neighbours"]
    assert (neighbour["id"], neighbour["became"]) == (car["id"], "recomputed")


def test_counterfactual_pairs(tmp_path):
    assert on_coco(tmp_path, "--remove", "car", "--mode", "counterfactual") == 0
    out = tmp_path / "out"
    pairs = [json.loads(line) for line in (out / "pairs.jsonl").read_text().splitlines()]
    assert [pair["source"] for pair in pairs] == ["street.jpg", "crowded.jpg", "empty road.jpg"]
    for pair in pairs:
        first, second, hole = (np.asarray(Image.open(out / pair[name])) for name in ("with", "without", "hole"))
        assert first.shape == second.shape
        assert hole.dtype == bool
        differs = np.abs(first.astype(int) - second).max(axis=2) > 0
        grown = cv2.dilate(hole.astype(np.uint8), np.ones((33, 33))) > 0
        assert not (differs & ~grown).any()  # a JPEG's blocks reach a little further than its hole
        assert shows(out / pair["with"], BLUE)
        assert not shows(out / pair["without"], BLUE)
    ids = [sorted(load_coco(out / half / "annotations/instances.json").imgs) for half in ("with", "without")]
    assert ids == [[9000, 9007, 9014]] * 2


def test_per_instance(tmp_path):
    assert on_coco(tmp_path, "--remove", "all", "--per-instance", "--untouched", "link") == 0
    coco = load_coco(tmp_path / "out/annotations/instances.json")
    assert len(coco.imgs) == 4 + 5
    names = {one["file_name"]: one["id"] for one in coco.imgs.values()}
    assert names["street.jpg"] == 9000
    assert (
        shows(tmp_path / "out/photos/street.100.jpg", RED),
        shows(tmp_path / "out/photos/street.100.jpg", BLUE),
    ) == (False, True)
    (left,) = coco.imgToAnns[names["street.100.jpg"]]
    assert (left["category_id"], left["source_id"]) == (3, 101)


def test_negatives_have_none_of_it_left(tmp_path):
    assert on_coco(tmp_path, "--remove", "person", "--mode", "negatives") == 0
    coco = load_coco(tmp_path / "out/annotations/instances.json")
    assert sorted(coco.imgs) == [9000, 9007, 9014]
    assert not coco.getAnnIds(catIds=[1])
    assert not (tmp_path / "out/photos/nobody.jpg").exists()


def test_a_fraction_is_drawn_by_the_seed(tmp_path):
    def removed(seed, out):
        on_coco(tmp_path, "--remove", "all", "--per-instance", "--fraction", 0.5, "--seed", seed, out=out)
        return {name for name, line in report(tmp_path / out).items() if line["status"] == "removed"}

    drawn = [removed(seed, f"out{seed}") for seed in range(4)]
    assert len(set(map(frozenset, drawn))) > 1
    assert removed(0, "again") == drawn[0]
    assert 0 < sum(map(len, drawn)) < 20


def test_check_finds_what_was_left_and_fills_it(tmp_path):
    path = draw_coco(tmp_path)
    data = json.loads(path.read_text())
    person = data["annotations"][0]
    x, y, width, _ = person["bbox"]  # its mask was drawn sloppily: an eighth of it
    person["segmentation"] = [[x, y, x + width, y, x + width, y + 12, x, y + 12]]
    path.write_text(json.dumps(data))
    on_coco(tmp_path, "--remove", "person", "--limit", 1, out="sloppy")
    assert shows(tmp_path / "sloppy/photos/street.jpg", RED)
    on_coco(tmp_path, "--remove", "person", "--limit", 1, "--check", 2)
    assert not shows(tmp_path / "out/photos/street.jpg", RED)
    check = report(tmp_path / "out")["photos/street.jpg"]["check"]
    assert check["passed"]
    assert check["rounds"] >= 1
    assert "slim-deeplab-voc21" in report(tmp_path / "out")["photos/street.jpg"]["models"]


@pytest.mark.parametrize("masks", ["segmenter", "both"])
def test_masks_of_the_segmenter(tmp_path, masks):
    path = draw_coco(tmp_path)
    data = json.loads(path.read_text())
    data["annotations"] = [one for one in data["annotations"] if one["id"] != 100]  # street's person has no label
    path.write_text(json.dumps(data))
    assert on_coco(tmp_path, "--remove", "person", "--masks", masks) == 0
    assert not shows(tmp_path / "out/photos/street.jpg", RED)
    coco = load_coco(tmp_path / "out/annotations/instances.json")
    assert [one["id"] for one in coco.imgToAnns[9007]] == [102]


def test_what_the_segmenter_misses_keeps_its_label_and_its_photo(tmp_path):
    hidden = {"id": 7, "image_id": 9021, "category_id": 1, "iscrowd": 0, "bbox": [10, 10, 20, 20], "area": 400}
    edit_json(draw_coco(tmp_path), lambda data: data["annotations"].append(hidden))
    request = ("--remove", "person", "--masks", "segmenter")
    assert on_coco(tmp_path, *request) == 0
    line = report(tmp_path / "out")["photos/nobody.jpg"]
    assert (line["status"], line["left"]) == ("unmatched", [7])
    coco = load_coco(tmp_path / "out/annotations/instances.json")
    assert [one["id"] for one in coco.imgToAnns[9021]] == [7]
    assert photos_in(tmp_path / "out/photos") == set(PHOTOS)
    assert on_coco(tmp_path, *request, "--untouched", "omit", out="edited") == 0
    assert "nobody.jpg" not in photos_in(tmp_path / "edited/photos")


# ------------------------------------------------------------------ VOC and YOLO


def test_clean_voc(tmp_path):
    draw_voc(tmp_path / "in")
    assert dataset("--voc", "in", "--remove", "automobile", "-o", "out") == 0
    detection = datasets.VOCDetection(tmp_path / "out", image_set="trainval")
    labels = {
        target["annotation"]["filename"]: [one["name"] for one in target["annotation"].get("object", [])]
        for _, target in detection
    }
    assert labels == {"street.jpg": ["person"], "crowded.jpg": ["person"], "empty_road.jpg": [], "nobody.jpg": []}
    for image, mask in datasets.VOCSegmentation(tmp_path / "out", image_set="train"):
        classes, pixels = np.asarray(mask), np.asarray(image).astype(int)
        red = np.abs(pixels - RED).max(axis=2) < 60
        assert set(np.unique(classes)) <= {0, 15, 255}
        assert ((classes == 15) & red).sum() > 0.88 * (classes == 15).sum()
    by_its_box = "VOCdevkit/VOC2012/JPEGImages/empty_road.jpg"
    assert not shows(tmp_path / "out" / by_its_box, BLUE)
    assert {one["label"] for one in report(tmp_path / "out")[by_its_box]["removed"]} == {"car"}
    lists = tmp_path / "out/VOCdevkit/VOC2012/ImageSets/Main"
    assert {line.split()[1] for line in (lists / "car_trainval.txt").read_text().splitlines()} == {"-1"}
    assert all(
        len(sample.annotations) <= 1
        for name in VocDataset(tmp_path / "out").names
        for sample in [VocDataset(tmp_path / "out").load(name)]
    )


@pytest.mark.parametrize("polygons", [True, False])
def test_clean_yolo(tmp_path, polygons):
    draw_yolo(tmp_path / "in", polygons)
    assert dataset("--yolo", "in/data.yaml", "--remove", "person", "-o", "out") == 0
    result = YoloDataset(tmp_path / "out/data.yaml")
    assert result.root == tmp_path / "out"
    assert {name: [one.label for one in result.load(name).annotations] for name in result.names} == {
        "images/train/crowded.jpg": ["car"],
        "images/train/street.jpg": ["car"],
        "images/val/empty road.jpg": ["car"],
        "images/val/nobody.jpg": [],
    }
    assert not any(shows(tmp_path / "out" / name, RED) for name in result.names)


# ------------------------------------------------------------------ crashes and mistakes


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo"])
def test_a_run_that_was_killed_goes_on(tmp_path, kind):
    """What a kill leaves: a line without its photo, a torn line, photos without lines, a draft, and nothing that speaks of all photos."""
    source = {
        "coco": ("--coco", "in/instances.json", "--images", "in/photos"),
        "voc": ("--voc", "in"),
        "yolo": ("--yolo", "in"),
    }[kind]
    {"coco": draw_coco, "voc": draw_voc, "yolo": draw_yolo}[kind](tmp_path / "in")
    request = (*source, "--remove", "person", "-o", "out")
    assert dataset(*request) == 0
    out = tmp_path / "out"
    whole = tree(out)
    written = (out / "report.jsonl").read_text().splitlines()
    (out / "report.jsonl").write_text("\n".join(written[:3]) + '\n{"photo": "torn')
    (out / json.loads(written[2])["photo"]).unlink()
    for name in whole:
        if not name.endswith(".jpg"):
            (out / name).unlink()
    (out / ".0123456789abcdef.part").write_bytes(b"half")
    kept = out / json.loads(written[0])["photo"]
    before = kept.stat().st_mtime_ns
    assert dataset(*request) == 0
    labels = {name for name in whole if "Annotations" in name or "Segmentation" in name or "labels" in name}
    assert {name: data for name, data in tree(out).items() if name not in labels} == {
        name: data for name, data in whole.items() if name not in labels
    }
    assert kept.stat().st_mtime_ns == before


def test_a_bad_photo_fails_alone(tmp_path, capsys):
    draw_coco(tmp_path)
    (tmp_path / "photos/street.jpg").write_bytes(b"no photo")
    (tmp_path / "photos/nobody.jpg").unlink()
    turned = Image.open(tmp_path / "photos/crowded.jpg")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "photos/crowded.jpg", exif=exif)
    assert on_coco(tmp_path, "--remove", "person") == 3
    lines = report(tmp_path / "out")
    assert {name: line["status"] for name, line in lines.items()} == {
        "photos/street.jpg": "failed",
        "photos/crowded.jpg": "skipped",
        "photos/empty road.jpg": "removed",
        "photos/nobody.jpg": "failed",
    }
    assert sorted(load_coco(tmp_path / "out/annotations/instances.json").imgs) == [9014]
    assert "street.jpg" in capsys.readouterr().err

    del exif[0x0112]
    turned.save(tmp_path / "photos/crowded.jpg", exif=exif)
    assert on_coco(tmp_path, "--remove", "person") == 3
    assert report(tmp_path / "out")["photos/crowded.jpg"]["status"] == "removed", "it was mended"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--remove", "persn"), "did you mean person"),
        (("--remove", "person", "--mode", "negatives", "--untouched", "link"), "--mode clean"),
        (("--remove", "person", "--per-instance", "--masks", "both"), "--masks annotations"),
        (("--remove", "person", "--voc", "x"), "one dataset"),
        (("--remove", "person", "--images", "photos"), "2 folders"),
        (("--remove", "person", "--coco", "nowhere.json", "--images", "photos"), "nowhere.json: no such file"),
        (("--remove", "person", "-o", "photos"), "not empty"),
    ],
)
def test_mistakes_end_with_2_and_one_line(tmp_path, arguments, word, capsys):
    assert on_coco(tmp_path, *arguments) == 2
    err = capsys.readouterr().err
    assert word in err
    assert len(err.splitlines()) == 1


def test_other_options_for_the_same_folder_are_noticed(tmp_path, capsys):
    assert on_coco(tmp_path, "--remove", "person") == 0
    assert on_coco(tmp_path, "--remove", "car") == 2
    assert "--again" in capsys.readouterr().err
    assert on_coco(tmp_path, "--remove", "car", "--again") == 0
    assert not shows(tmp_path / "out/photos/street.jpg", BLUE)
    assert shows(tmp_path / "out/photos/street.jpg", RED)


# ------------------------------------------------------------------ results that are no longer true


def edit_json(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def photos_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")}


def test_what_is_left_out_later_is_deleted(tmp_path):
    draw_yolo(tmp_path / "in")
    request = ("--yolo", "in", "--remove", "person", "-o", "out")
    assert dataset(*request) == 0
    (tmp_path / "out/images/train/mine.jpg").write_bytes(b"no run made it")
    assert dataset(*request, "--again", "--max-hole", 0.001) == 0
    assert photos_in(tmp_path / "out") == {
        "images/train/mine.jpg", "images/val/empty road.jpg", "images/val/nobody.jpg",
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "out/labels").rglob("*.txt")} == {"empty road.txt", "nobody.txt"}
    assert len(photos_in(tmp_path / "in")) == 4


def test_what_fails_later_is_deleted(tmp_path):
    draw_voc(tmp_path / "in")
    request = ("--voc", "in", "--remove", "person", "-o", "out")
    assert dataset(*request) == 0
    (tmp_path / "in/VOCdevkit/VOC2012/JPEGImages/street.jpg").write_bytes(b"no photo")
    assert dataset(*request) == 3
    out = tmp_path / "out/VOCdevkit/VOC2012"
    assert not list(out.rglob("street.*"))
    assert (out / "SegmentationObject/crowded.png").exists()


def test_what_another_run_made_and_this_one_does_not_is_deleted(tmp_path):
    assert on_coco(tmp_path, "--remove", "all", "--per-instance") == 0
    assert len(photos_in(tmp_path / "out")) == 5
    assert on_coco(tmp_path, "--remove", "person", "--mode", "counterfactual", "--again") == 0
    assert photos_in(tmp_path / "out") == {
        f"{half}/photos/{name}" for half in ("with", "without") for name in PHOTOS if name != "nobody.jpg"
    }
    assert (tmp_path / "out/without/annotations/instances.json").exists()
    assert not (tmp_path / "out/annotations/instances.json").exists()
    assert set(report(tmp_path / "out")) == {f"without/photos/{name}" for name in PHOTOS if name != "nobody.jpg"}


def test_the_original_of_pairs_stays_as_long_as_one_of_them(tmp_path):
    request = ("--remove", "all", "--per-instance", "--mode", "counterfactual")
    assert on_coco(tmp_path, *request) == 0
    # The car of street.jpg is larger than the person.
    assert on_coco(tmp_path, *request, "--again", "--max-hole", 0.1) == 0
    left = {name for name in photos_in(tmp_path / "out") if "street" in name}
    assert left == {"with/photos/street.jpg", "without/photos/street.100.jpg"}
    assert on_coco(tmp_path, *request, "--again", "--max-hole", 0.001) == 0
    assert not photos_in(tmp_path / "out")
    assert not any((tmp_path / "out/holes").rglob("*.png"))


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_a_photo_whose_label_file_changed_is_done_again(tmp_path, kind):
    {"voc": draw_voc, "yolo": draw_yolo}[kind](tmp_path / "in")
    request = (f"--{kind}", "in", "--remove", "person", "-o", "out")
    assert dataset(*request) == 0
    (photo,) = (tmp_path / "out").rglob("street.jpg")
    (crowded,) = (tmp_path / "out").rglob("crowded.jpg")
    times = photo.stat().st_mtime_ns, crowded.stat().st_mtime_ns
    assert dataset(*request) == 0
    assert (photo.stat().st_mtime_ns, crowded.stat().st_mtime_ns) == times
    if kind == "voc":
        xml = tmp_path / "in/VOCdevkit/VOC2012/Annotations/street.xml"
        xml.write_text(xml.read_text().replace("<name>car", "<name>person"))
    else:
        labels = tmp_path / "in/labels/train/street.txt"
        labels.write_text("".join(f"0{line[1:]}\n" for line in labels.read_text().splitlines()))
    assert dataset(*request) == 0
    assert not shows(photo, BLUE)
    assert crowded.stat().st_mtime_ns == times[1]


# ------------------------------------------------------------------ labels that cannot be followed


def test_a_yolo_folder_is_known_by_its_data_file(tmp_path, capsys):
    path = draw_yolo(tmp_path / "in")
    assert dataset("--yolo", "in", "--remove", "person", "-o", "out") == 0
    path.write_text(path.read_text().replace("0: person", "0: car").replace("2: car", "2: person"))
    assert dataset("--yolo", "in", "--remove", "person", "-o", "out") == 2
    assert "other options" in capsys.readouterr().err


def test_whatever_a_label_is_the_other_photos_go_on(tmp_path):
    draw_voc(tmp_path / "in")
    (tmp_path / "in/VOCdevkit/VOC2012/Annotations/street.xml").write_text("<annotation>")
    assert dataset("--voc", "in", "--remove", "person", "-o", "out") == 3
    lines = report(tmp_path / "out")
    assert sorted(line["status"] for line in lines.values()) == ["failed", "removed", "unmatched", "unmatched"]

    edit_json(draw_coco(tmp_path), lambda data: data["annotations"][0].update(id="img/2"))
    edit_json(tmp_path / "instances.json", lambda data: data["annotations"][2].update(segmentation={"size": 5}))
    assert on_coco(tmp_path, "--remove", "person", "--per-instance", "--untouched", "copy", out="each") == 3
    assert "street.img%2F2.jpg" in photos_in(tmp_path / "each/photos")


@pytest.mark.parametrize("change", [{"bbox": [None, 1, 2, 3]}, {"category_id": 77}])
def test_a_broken_record_fails_its_photo_alone(tmp_path, change, capsys):
    edit_json(draw_coco(tmp_path), lambda data: data["annotations"][0].update(change))
    assert on_coco(tmp_path, "--remove", "person") == 3
    assert "annotation 100" in capsys.readouterr().err
    assert sorted(load_coco(tmp_path / "out/annotations/instances.json").imgs) == [9007, 9014, 9021]


def test_an_outline_that_encloses_nothing_is_cut_out_by_its_box(tmp_path):
    line = [[40, 40, 50, 50]]
    edit_json(draw_coco(tmp_path), lambda data: data["annotations"][0].update(segmentation=line))
    assert on_coco(tmp_path, "--remove", "person", "--limit", 1) == 0
    assert not shows(tmp_path / "out/photos/street.jpg", RED)
    edit_json(tmp_path / "instances.json", lambda data: data["annotations"][0].update(bbox=[40, 40, 0, 0]))
    assert on_coco(tmp_path, "--remove", "all", "--limit", 1, out="other") == 0
    line = report(tmp_path / "other")["photos/street.jpg"]
    assert (line["status"], line["reason"]) == (
        "skipped", "nothing could be filled of annotation 100, whose outline and box show no object",
    )  # fmt: skip
    assert not load_coco(tmp_path / "other/annotations/instances.json").imgs


def test_a_variant_that_fails_does_so_under_its_own_name(tmp_path):
    draw_coco(tmp_path)
    outline = {"size": [4, 5], "counts": "00"}
    edit_json(tmp_path / "instances.json", lambda data: data["annotations"][0].update(segmentation=outline))
    edit_json(tmp_path / "instances.json", lambda data: data["images"][1].update(width=170))
    assert on_coco(tmp_path, "--remove", "all", "--per-instance", "--untouched", "copy") == 3
    lines = {name: line["status"] for name, line in report(tmp_path / "out").items()}
    assert lines == {
        "photos/street.jpg": "unmatched", "photos/street.100.jpg": "failed", "photos/street.101.jpg": "failed",
        "photos/crowded.jpg": "failed", "photos/crowded.102.jpg": "failed", "photos/crowded.103.jpg": "failed",
        "photos/empty road.jpg": "unmatched", "photos/empty road.104.jpg": "removed", "photos/nobody.jpg": "unmatched",
    }  # fmt: skip
    names = {one["file_name"] for one in load_coco(tmp_path / "out/annotations/instances.json").imgs.values()}
    assert (
        names
        == photos_in(tmp_path / "out/photos")
        == {"street.jpg", "empty road.jpg", "empty road.104.jpg", "nobody.jpg"}
    )


def test_max_hole_is_held_against_the_hole_that_the_check_grew(tmp_path):
    path = draw_coco(tmp_path)
    x, y, width, _ = json.loads(path.read_text())["annotations"][0]["bbox"]
    part = [[x, y, x + width, y, x + width, y + 12, x, y + 12]]
    edit_json(path, lambda data: data["annotations"][0].update(segmentation=part))
    request = ("--remove", "person", "--limit", 1, "--max-hole", 0.05)
    assert on_coco(tmp_path, *request) == 0
    assert report(tmp_path / "out")["photos/street.jpg"]["hole_share"] < 0.05
    assert on_coco(tmp_path, *request, "--check", 2, out="checked") == 0
    line = report(tmp_path / "checked")["photos/street.jpg"]
    assert (line["status"], "--max-hole is 5.0%" in line["reason"]) == ("skipped", True)
