"""COCO, VOC and YOLO datasets of a few drawn photos, as the tests of `objremove.dataset` read them.

Every photo is the scene of `conftest`: a soft gradient, red discs are persons, blue ones cars. Labels are made from the same discs.
"""

from __future__ import annotations

import json

import numpy as np
from conftest import BLUE, RED, scene
from PIL import Image
from pycocotools import mask as coco_mask

from objremove.dataset.voc_masks import CLASSES

HEIGHT, WIDTH = 120, 160
PHOTOS = {
    "street.jpg": ((40, 40, 14, RED), (110, 60, 20, BLUE)),  # far apart
    "crowded.jpg": ((60, 60, 20, BLUE), (84, 60, 14, RED)),  # the person stands before the car
    "empty road.jpg": ((80, 70, 22, BLUE),),
    "nobody.jpg": (),
}
NAMES = {RED: "person", BLUE: "car"}


def disc(x, y, radius):
    """(H, W) bool."""
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    return (xs - x) ** 2 + (ys - y) ** 2 <= radius**2


def visible_discs(discs):
    """Label and visible mask of each disc; later ones are drawn over earlier ones."""
    seen = []
    for x, y, radius, colour in discs:
        mask = disc(x, y, radius)
        seen = [(label, other & ~mask) for label, other in seen]
        seen.append((NAMES[colour], mask))
    return seen


def draw_photos(folder):
    folder.mkdir(parents=True)
    for name, discs in PHOTOS.items():
        Image.fromarray(scene(HEIGHT, WIDTH, discs)).save(folder / name, quality=95)


def circle(x, y, radius, count=24):
    """A polygon around a disc of pixels, with the long fractions that annotation tools write."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    points = np.stack([x + 0.5 + (radius + 0.5) * np.cos(angles), y + 0.5 + (radius + 0.5) * np.sin(angles)], axis=1)
    return [round(float(value), 2) for value in points.ravel()]


def coco_rle(mask, compressed):
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    if compressed:
        return {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()}
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel(order="F").astype(int)])))
    return {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *edges, mask.size]).tolist()}


def draw_coco(root, indent=None):
    """ROOT/photos and ROOT/instances.json; returns the JSON file. The car of `crowded.jpg` is a compressed RLE; there is a crowd."""
    draw_photos(root / "photos")
    images, annotations = [], []
    for number, (name, discs) in enumerate(PHOTOS.items()):
        image_id = 9000 + 7 * number
        images.append(
            {
                "license": 4,
                "file_name": name,
                "height": HEIGHT,
                "width": WIDTH,
                "date_captured": "2013-11-14",
                "id": image_id,
            }
        )
        for (x, y, radius, colour), (_, mask) in zip(discs, visible_discs(discs), strict=True):
            annotations.append(
                {
                    "segmentation": coco_rle(mask, True)
                    if mask.sum() < disc(x, y, radius).sum()
                    else [circle(x, y, radius)],
                    "area": float(mask.sum()) + 0.5,
                    "iscrowd": 0,
                    "image_id": image_id,
                    "bbox": [float(x - radius), float(y - radius), 2.0 * radius + 1, 2.0 * radius + 1],
                    "category_id": 1 if colour == RED else 3,
                    "id": 100 + len(annotations),
                    "score_of_annotator": 0.10,
                }
            )
    crowd = np.zeros((HEIGHT, WIDTH), bool)
    crowd[100:115, 20:60] = True
    annotations.append(
        {
            "segmentation": coco_rle(crowd, False), "area": 600, "iscrowd": 1, "image_id": 9014,
            "bbox": [20, 100, 40, 15], "category_id": 1, "id": 900100,
        }
    )  # fmt: skip
    data = {
        "info": {"description": "drawn — 0", "year": 2017},
        "licenses": [{"id": 4, "name": "free"}],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"supercategory": "person", "id": 1, "name": "person"},
            {"supercategory": "vehicle", "id": 3, "name": "car"},
            {"supercategory": "vehicle", "id": 6, "name": "bus"},
        ],
        "extra": {"kept": [1.50, 1e-3]},
    }
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    path = root / "instances.json"
    path.write_text(text.replace('"score_of_annotator": 0.1', '"score_of_annotator": 0.10').replace("1.5,", "1.50,"))
    return path


OBJECT = """\t<object>
\t\t<name>{label}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>{truncated}</truncated>
\t\t<difficult>{difficult}</difficult>
\t\t<bndbox>
\t\t\t<xmin>{0}</xmin>
\t\t\t<ymin>{1}</ymin>
\t\t\t<xmax>{2}</xmax>
\t\t\t<ymax>{3}</ymax>
\t\t</bndbox>
\t</object>
"""
ANNOTATION = """<annotation>
\t<folder>VOC2012</folder>
\t<filename>{name}</filename>
\t<source>
\t\t<database>drawn &amp; free</database>
\t</source>
\t<size>
\t\t<width>{width}</width>
\t\t<height>{height}</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>1</segmented>
{objects}</annotation>
"""


def bounds(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def palette() -> list[int]:
    """VOC's palette, 256 x RGB: the bits of an index spread over the channels, so that near indices look different."""
    colours = []
    for index in range(256):
        red = green = blue = 0
        for bit in range(8):
            red |= (index >> 3 * bit & 1) << 7 - bit
            green |= (index >> 3 * bit + 1 & 1) << 7 - bit
            blue |= (index >> 3 * bit + 2 & 1) << 7 - bit
        colours += [red, green, blue]
    return colours


def draw_voc(root):
    """A tree like VOC2012, as ROOT/VOCdevkit/VOC2012, which it returns. `street` has masks of both kinds, `empty road` has none."""
    voc = root / "VOCdevkit" / "VOC2012"
    draw_photos(voc / "JPEGImages")
    for folder in (
        "Annotations",
        "SegmentationClass",
        "SegmentationObject",
        "ImageSets/Main",
        "ImageSets/Segmentation",
    ):
        (voc / folder).mkdir(parents=True)
    stems = [name.removesuffix(".jpg").replace(" ", "_") for name in PHOTOS]
    for name, stem in zip(PHOTOS, stems, strict=True):
        (voc / "JPEGImages" / name).rename(voc / "JPEGImages" / f"{stem}.jpg")
    for (_, discs), stem in zip(PHOTOS.items(), stems, strict=True):
        shapes = visible_discs(discs)
        objects = "".join(
            OBJECT.format(x0 + 1, y0 + 1, x1, y1, label=label, truncated=int(stem == "crowded"), difficult=0)
            for label, (x0, y0, x1, y1) in ((label, bounds(mask)) for label, mask in shapes)
        )
        text = ANNOTATION.format(name=f"{stem}.jpg", width=WIDTH, height=HEIGHT, objects=objects)
        (voc / "Annotations" / f"{stem}.xml").write_bytes(text.encode())
        if stem == "empty_road":
            continue
        planes = {
            "SegmentationObject": np.zeros((HEIGHT, WIDTH), np.uint8),
            "SegmentationClass": np.zeros((HEIGHT, WIDTH), np.uint8),
        }
        for number, (label, mask) in enumerate(shapes, start=1):
            planes["SegmentationObject"][mask], planes["SegmentationClass"][mask] = number, CLASSES.index(label)
        for folder, plane in planes.items():
            for _, mask in shapes:
                grown = mask | np.roll(mask, 1, 1) | np.roll(mask, -1, 1)
                plane[grown & (plane == 0)] = 255
            picture = Image.fromarray(plane)
            picture.putpalette(palette())
            picture.save(voc / folder / f"{stem}.png")
    train, val = stems[:2], stems[2:]
    for folder in ("Main", "Segmentation"):
        for split, names in (("train", train), ("val", val), ("trainval", stems)):
            (voc / "ImageSets" / folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    shown = {stem: {NAMES[disc[3]] for disc in discs} for stem, discs in zip(stems, PHOTOS.values(), strict=True)}
    for label in ("person", "car"):
        lines = "".join(f"{stem} {1 if label in shown[stem] else -1:>2}\n" for stem in stems)
        (voc / "ImageSets" / "Main" / f"{label}_trainval.txt").write_text(lines)
    return voc


def draw_yolo(root, polygons=True):
    """A tree with `data.yaml`, which it returns: `images/train`, `images/val` and their labels."""
    for number, (name, discs) in enumerate(PHOTOS.items()):
        split = "train" if number < 2 else "val"
        images, labels = root / "images" / split, root / "labels" / split
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene(HEIGHT, WIDTH, discs)).save(images / name, quality=95)
        lines = []
        for x, y, radius, colour in discs:
            index = 0 if colour == RED else 2
            if polygons:
                points = circle(x, y, radius)
                words = [f"{value / (HEIGHT if place % 2 else WIDTH):.4f}" for place, value in enumerate(points)]
            else:
                side = 2 * radius + 1
                words = [str((x + 0.5) / WIDTH), str((y + 0.5) / HEIGHT), f"{side / WIDTH:.5f}", f"{side / HEIGHT:.5f}"]
            lines.append(" ".join([str(index), *words]))
        (labels / name).with_suffix(".txt").write_text("".join(f"{line}\n" for line in lines))
    yaml = "# drawn\npath: /datasets/drawn\ntrain: images/train\nval: images/val\n\nnames:\n  0: person\n  1: bicycle\n  2: car\n"
    (root / "data.yaml").write_text(yaml.replace("path: /datasets/drawn", f"path: {root}"))
    return root / "data.yaml"
