"""Augmentation of the segmenter's photos and labels: crop, scale, rotation, colour, objects pasted from other photos, two photos in one.

Copy-paste after Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method" (CVPR 2021).
CutMix after Yun et al. (ICCV 2019), for segmentation French et al. (BMVC 2020). Mixup (Zhang et al., ICLR 2018) as Beyer et al. use
it in "Knowledge distillation: A good teacher is patient and consistent" (CVPR 2022): a teacher that knows its training photos by
heart has something to say about blends of them, whatever the share.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from objremove.training.config import SegmenterAugmentConfig
from objremove.training.files import IGNORE, Bytes
from objremove.training.library import PhotoLibrary, ShapeBank
from objremove.types import Mask


def random_crop(
    photo: Bytes, labels: Bytes, size: int, rng: np.random.Generator, config: SegmenterAugmentConfig
) -> tuple[Bytes, Bytes]:
    """A part of random area, aspect, angle and side, resized to (size, size, 3) and (size, size); beyond the photo nothing is known."""
    height, width = labels.shape
    area, aspect = height * width * rng.uniform(*config.area), math.exp(rng.uniform(-config.aspect, config.aspect))
    crop_width, crop_height = min(width, round(math.sqrt(area * aspect))), min(height, round(math.sqrt(area / aspect)))
    left, top = int(rng.integers(0, width - crop_width + 1)), int(rng.integers(0, height - crop_height + 1))
    if config.rotation and rng.random() < 0.5:
        centre = (left + crop_width / 2, top + crop_height / 2)
        turn = cv2.getRotationMatrix2D(centre, rng.uniform(-config.rotation, config.rotation), 1)
        turn[:, 2] -= (left, top)
        box = (crop_width, crop_height)
        mirrored = cv2.warpAffine(photo, turn, box, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        photo = np.asarray(mirrored, np.uint8)
        labels = np.asarray(cv2.warpAffine(labels, turn, box, flags=cv2.INTER_NEAREST, borderValue=IGNORE), np.uint8)
    else:
        part = np.s_[top : top + crop_height, left : left + crop_width]
        photo, labels = photo[part], labels[part]
    photo, labels = resize(photo, labels, (size, size))
    return (photo[:, ::-1], labels[:, ::-1]) if rng.random() < 0.5 else (photo, labels)


def resize(photo: Bytes, labels: Bytes, size: tuple[int, int]) -> tuple[Bytes, Bytes]:
    """Photo and labels at `size` (width, height)."""
    smaller = photo.shape[1] > size[0]
    return (
        np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)),
        np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)),
    )


def paste_object(
    photo: Bytes, labels: Bytes, library: PhotoLibrary, objects: ShapeBank, rng: np.random.Generator
) -> tuple[Bytes, Bytes]:
    """Put an object of another photo, a quarter to four fifths of the crop long, anywhere in the crop; returns new arrays."""
    index, label, mask = objects.draw(rng)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    mask, source = mask[part], library.photo(index)[part]
    size = photo.shape[0]
    factor = rng.uniform(0.25, 0.8) * size / max(mask.shape)
    box = (max(1, round(mask.shape[1] * factor)), max(1, round(mask.shape[0] * factor)))
    source, shape = resize(source, mask.astype(np.uint8), box)
    if rng.random() < 0.5:
        source, shape = source[:, ::-1], shape[:, ::-1]
    left, top = (int(rng.integers(-side // 3, size - side * 2 // 3 + 1)) for side in box)
    return _composite(photo, labels, source, shape.astype(np.bool_), (left, top), label)


def cut_mix(
    photo: Bytes, labels: Bytes, other: Bytes, other_labels: Bytes, rng: np.random.Generator
) -> tuple[Bytes, Bytes]:
    """Put a box of the other crop, a fifth to four fifths of both sides, at the same place of this one; returns new arrays."""
    sides = labels.shape
    height, width = (round(side * rng.uniform(0.2, 0.8)) for side in sides)
    top, left = int(rng.integers(0, sides[0] - height + 1)), int(rng.integers(0, sides[1] - width + 1))
    part = np.s_[top : top + height, left : left + width]
    photo, labels = photo.copy(), labels.copy()
    photo[part], labels[part] = other[part], other_labels[part]
    return photo, labels


def mix_up(
    photo: Bytes, labels: Bytes, other: Bytes, other_labels: Bytes, rng: np.random.Generator
) -> tuple[Bytes, Bytes]:
    """Blend two crops at a random share; known stays only what is the same in both."""
    share = rng.random()
    blend = np.asarray(cv2.addWeighted(photo, share, other, 1 - share, 0), np.uint8)
    return blend, np.where(labels == other_labels, labels, np.uint8(IGNORE))


def recolour(photo: Bytes, rng: np.random.Generator, config: SegmenterAugmentConfig) -> Bytes:
    """Random brightness, contrast, saturation, and now and then no colour or no sharpness at all."""
    factor = rng.uniform(1 - config.brightness, 1 + config.brightness)
    contrast = rng.uniform(1 - config.contrast, 1 + config.contrast)
    offset = rng.uniform(-config.offset, config.offset)
    table = np.clip((np.arange(256) * factor - 128) * contrast + 128 + offset, 0, 255).astype(np.uint8)
    photo = np.asarray(cv2.LUT(photo, table))
    saturation = 0.0 if rng.random() < config.grey else rng.uniform(1 - config.saturation, 1 + 0.8 * config.saturation)
    grey = cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    photo = np.asarray(cv2.addWeighted(photo, saturation, grey, 1 - saturation, 0))
    if rng.random() < config.blur:
        photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.4, 1.5)))
    return photo


def _composite(
    photo: Bytes, labels: Bytes, source: Bytes, shape: Mask, corner: tuple[int, int], label: int
) -> tuple[Bytes, Bytes]:
    (left, top), (height, width), size = corner, shape.shape, photo.shape[0]
    inside = np.s_[max(0, -top) : min(height, size - top), max(0, -left) : min(width, size - left)]
    target = np.s_[max(0, top) : min(size, top + height), max(0, left) : min(size, left + width)]
    soft = cv2.GaussianBlur(shape[inside].astype(np.float32), (0, 0), 0.8)[..., None]
    photo, labels = photo.copy(), labels.copy()
    photo[target] = np.rint(photo[target] * (1 - soft) + source[inside] * soft).astype(np.uint8)
    labels[target][shape[inside]] = label
    return photo, labels
