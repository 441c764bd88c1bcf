"""`RemoveObjects` in the shapes that training code has: torchvision v2 samples, albumentations' keywords, DataLoader workers."""

import contextlib
import io
import pickle

import numpy as np
import pytest
import torch
from conftest import BLUE, RED, scene
from drawn_datasets import disc, draw_coco
from PIL import Image
from torchvision import datasets, tv_tensors
from torchvision.transforms import v2

from objremove.dataset import RemoveObjects
from objremove.errors import UsageError

DISCS = ((60, 60, 20, BLUE), (84, 60, 14, RED), (130, 30, 10, BLUE))
PIXELS = scene(120, 160, DISCS)
MASKS = np.stack([disc(60, 60, 20) & ~disc(84, 60, 14), disc(84, 60, 14), disc(130, 30, 10)])
CORNERS = [[40.0, 40.0, 81.0, 81.0], [70.0, 46.0, 99.0, 75.0], [120.0, 20.0, 141.0, 41.0]]


def without_person(**options):
    return RemoveObjects(["person"], p=1.0, inpainter="telea", **options)


def has_red(pixels):
    return bool((np.abs(np.asarray(pixels).astype(int)[..., :3] - RED).max(axis=-1) < 60).any())


def sample(format="XYXY"):
    boxes = tv_tensors.BoundingBoxes(torch.tensor(CORNERS), format="XYXY", canvas_size=(120, 160))
    target = {
        "boxes": v2.functional.convert_bounding_box_format(boxes, new_format=tv_tensors.BoundingBoxFormat[format]),
        "masks": tv_tensors.Mask(torch.from_numpy(MASKS).to(torch.uint8)),
        "labels": torch.tensor([3, 1, 3]),
        "area": torch.tensor([1.0, 2.0, 3.0]),
        "image_id": 5,
    }
    return tv_tensors.Image(torch.from_numpy(PIXELS).permute(2, 0, 1)), target


@pytest.mark.parametrize("format", ["XYXY", "XYWH", "CXCYWH"])
def test_image_boxes_masks_and_labels_change_together(format):
    image, target = sample(format)
    edited, new = without_person()(image, target)
    assert isinstance(edited, tv_tensors.Image)
    assert not has_red(edited.permute(1, 2, 0))
    assert has_red(image.permute(1, 2, 0))  # nothing given is written to
    assert new["labels"].tolist() == [3, 3]
    assert new["area"].tolist() == [1.0, 3.0]
    assert new["image_id"] == 5
    assert (new["boxes"].format.name, new["boxes"].canvas_size, len(new["boxes"])) == (format, (120, 160), 2)
    changed = (edited != image).any(dim=0)
    assert not (new["masks"].bool() & changed).any()  # what is labelled is what is to be seen there
    corners = v2.functional.convert_bounding_box_format(
        new["boxes"], new_format=tv_tensors.BoundingBoxFormat.XYXY
    ).tolist()
    assert corners == CORNERS[::2]  # the car's visible part was spared
    assert np.array_equal(new["masks"][1], MASKS[2])


def test_an_object_below_is_cut_with_what_lay_over_it():
    masks = MASKS.copy()
    masks[0] = disc(60, 60, 20)  # the car is labelled below the person, too
    masks[1] |= disc(60, 60, 20) & (np.arange(160) >= 76)
    image, target = sample("CXCYWH")
    target["masks"] = tv_tensors.Mask(torch.from_numpy(masks).to(torch.uint8) * 7)
    _, new = without_person()(image, target)
    left = np.asarray(new["masks"][0])
    assert set(np.unique(left)) == {0, 7}
    columns = np.flatnonzero(left.any(axis=0))
    cx, _, width, _ = new["boxes"][0].tolist()
    assert (cx - width / 2, cx + width / 2) == (columns[0], columns[-1] + 1)
    assert columns[-1] < 76


def test_boxes_alone_are_cut_out_by_the_prompter():
    image, target = sample()
    del target["masks"]
    edited, new = without_person()(image, target)
    assert not has_red(edited.permute(1, 2, 0))
    assert new["labels"].tolist() == [3, 3]
    assert new["boxes"].tolist() == CORNERS[::2]


def test_rotated_boxes_are_kept_as_they_are():
    image, target = sample()
    del target["masks"]
    rows = torch.tensor([[60.0, 60.0, 41.0, 41.0, 30.0], [84.5, 60.5, 29.0, 29.0, 0.0], [130.0, 30.0, 21.0, 21.0, 5.0]])
    target["boxes"] = tv_tensors.BoundingBoxes(rows, format="CXCYWHR", canvas_size=(120, 160))
    edited, new = without_person()(image, target)
    assert not has_red(edited.permute(1, 2, 0))
    assert torch.equal(new["boxes"].as_subclass(torch.Tensor), rows[::2])


def test_it_stands_in_a_row_with_other_transforms():
    row = v2.Compose(
        [
            without_person(),
            v2.RandomHorizontalFlip(1.0),
            v2.ToDtype(torch.float32, scale=True),
            v2.SanitizeBoundingBoxes(),
        ]
    )
    image, target = row(*sample())
    assert image.dtype == torch.float32
    assert target["boxes"][1].tolist() == [19.0, 20.0, 40.0, 41.0]


@pytest.mark.parametrize("kind", ["PIL", "turned PIL", "tensor", "float"])
def test_every_kind_of_image(kind):
    image, target = sample()
    if "PIL" in kind:
        image = Image.fromarray(PIXELS)
        if kind == "turned PIL":  # its labels are drawn for the pixels as they lie in memory
            image.info["exif"] = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    elif kind == "tensor":
        image = image.as_subclass(torch.Tensor)
    else:
        image = tv_tensors.Image(image.float() / 255)
    edited, _ = without_person()(image, target)
    assert type(edited) in (type(image), Image.Image)
    pixels = np.asarray(edited) if "PIL" in kind else edited.permute(1, 2, 0).numpy()
    assert not has_red(pixels * 255 if kind == "float" else pixels)
    assert pixels.shape == (120, 160, 3)


@pytest.mark.parametrize(
    ("bbox_format", "convert"),
    [
        ("pascal_voc", lambda x0, y0, x1, y1: (x0, y0, x1, y1)),
        ("coco", lambda x0, y0, x1, y1: (x0, y0, x1 - x0, y1 - y0)),
        ("yolo", lambda x0, y0, x1, y1: ((x0 + x1) / 320, (y0 + y1) / 240, (x1 - x0) / 160, (y1 - y0) / 120)),
        ("albumentations", lambda x0, y0, x1, y1: (x0 / 160, y0 / 120, x1 / 160, y1 / 120)),
    ],
)
def test_albumentations_shape(bbox_format, convert):
    boxes = [(*convert(*corners), "extra") for corners in CORNERS]
    answer = without_person(bbox_format=bbox_format)(
        image=PIXELS, masks=list(MASKS), bboxes=boxes, labels=["car", "person", "car"], path="x.jpg"
    )
    assert set(answer) == {"image", "masks", "bboxes", "labels", "path"}
    assert not has_red(answer["image"])
    assert answer["labels"] == ["car", "car"]
    assert answer["bboxes"] == boxes[::2]
    assert [mask.sum() for mask in answer["masks"]] == [MASKS[0].sum(), MASKS[2].sum()]
    arrays = without_person(bbox_format=bbox_format)(
        image=PIXELS, masks=MASKS, bboxes=np.array([row[:4] for row in boxes]), labels=np.array([3, 1, 3])
    )
    assert np.array_equal(arrays["masks"], MASKS[::2])
    assert arrays["bboxes"].shape == (2, 4)


def test_images_without_labels_are_searched(remover):
    transform = RemoveObjects(["person"], p=1.0, segmenter="colours", inpainter="telea")
    assert not has_red(transform(image=PIXELS)["image"])


def test_samples_without_the_class_are_passed_on_as_they_are():
    image, target = sample()
    transform = RemoveObjects(["dog"], p=1.0, inpainter="telea")
    edited, new = transform(image, target)
    assert edited is image
    assert new is target


def test_an_object_that_is_nowhere_keeps_its_label():
    image, target = sample()
    masks = MASKS.copy()
    masks[1] = False
    target["masks"] = tv_tensors.Mask(torch.from_numpy(masks).to(torch.uint8))
    edited, new = without_person()(image, target)  # its box shows it
    assert not has_red(edited.permute(1, 2, 0))
    assert new["labels"].tolist() == [3, 3]
    del target["boxes"]
    edited, new = without_person()(image, target)
    assert edited is image
    assert new is target


def test_a_photo_that_is_nearly_all_hole_is_passed_on_as_it_is():
    image, target = sample()
    edited, _ = without_person(max_hole=0.02)(image, target)
    assert edited is image


def test_names_say_what_numbers_mean():
    image, target = sample()
    target["labels"] = torch.tensor([7, 15, 7])
    assert without_person(names="voc")(image, target)[1]["labels"].tolist() == [7, 7]
    target["labels"] = torch.tensor([1, 0, 1])
    assert without_person(names=["person", "car"])(image, target)[1]["labels"].tolist() == [1, 1]
    assert RemoveObjects([0], p=1.0, names=["person", "car"], inpainter="telea")(image, target)[1][
        "labels"
    ].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"classes": ["persn"]}, "did you mean person"),
        ({"classes": []}, "no classes"),
        ({"classes": ["person"], "p": 2}, "p=2"),
        ({"classes": ["person"], "names": "imagenet"}, "imagenet"),
        ({"classes": ["person"], "bbox_format": "xyxy"}, "pascal_voc"),
        ({"classes": ["person"], "dilate": "much"}, "dilate"),
    ],
)
def test_what_means_nothing_is_said_at_once(options, word):
    with pytest.raises(UsageError, match=word):
        RemoveObjects(**options)


def test_samples_that_do_not_fit_together_are_refused():
    image, target = sample()
    for change, word in (
        ({"labels": torch.tensor([1, 3])}, "2 labels and 3 boxes"),
        ({"labels": None, "boxes": target["boxes"]}, "no 'labels'"),
    ):
        broken = {key: value for key, value in {**target, **change}.items() if value is not None}
        with pytest.raises(UsageError, match=word):
            without_person()(image, broken)
    with pytest.raises(UsageError, match="give masks="):
        without_person()(image=PIXELS, mask=MASKS[0], labels=["person"])


def test_the_seed_decides():
    image, target = sample()
    transform = RemoveObjects(["person"], p=0.5, inpainter="telea")

    def draws(seed):
        torch.manual_seed(seed)
        return [transform(image, target)[0] is image for _ in range(12)]

    assert draws(1) == draws(1)
    assert len(set(draws(1))) == 2
    assert draws(1) != draws(2)


class Photos(torch.utils.data.Dataset):
    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 6

    def __getitem__(self, place):
        image, target = self.transform(*sample())
        return has_red(image.permute(1, 2, 0)), len(target["labels"]), torch.get_num_threads(), image


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_data_loader(start):
    transform = RemoveObjects(["person"], p=0.5, inpainter="telea")
    transform(*sample())  # loaded in the parent, and not passed on
    answers = []
    for _ in range(2 if start == "fork" else 1):
        loader = torch.utils.data.DataLoader(
            Photos(transform),
            batch_size=None,
            num_workers=2 if start == "fork" else 1,  # a spawned one imports torch anew
            multiprocessing_context=start,
            generator=torch.Generator().manual_seed(3),
        )
        answers.append(list(loader))
    assert all(red == (count == 3) and threads == 1 for red, count, threads, _ in answers[0])
    assert len({red for red, *_ in answers[0]}) == 2
    assert all(torch.equal(one[3], other[3]) for one, other in zip(answers[0], answers[-1], strict=True))


def test_it_is_pickled_without_its_models():
    transform = without_person()
    before = len(pickle.dumps(transform))
    transform(*sample())
    assert len(pickle.dumps(transform)) == before
    assert "person" in repr(transform)


def test_torchvisions_coco_dataset_feeds_it(tmp_path):
    path = draw_coco(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = datasets.CocoDetection(tmp_path / "photos", path, transforms=without_person())
    wrapped = datasets.wrap_dataset_for_transforms_v2(coco, target_keys=("boxes", "masks", "labels"))
    image, target = wrapped[1]
    assert not has_red(image)
    assert target["labels"].tolist() == [3]
