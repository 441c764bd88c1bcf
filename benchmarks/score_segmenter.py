"""How well a segmenter finds the classes of hand-labelled photos: IoU by class, through the same `find` that a removal uses.

    python benchmarks/score_segmenter.py VAL.tar [--segmenter NAME|FILE] [--conf 0.4] [--limit N]

VAL.tar is a WebDataset tar of KEY.webp (photo), KEY.seg.png (VOC indices, 255 ignored) and KEY.json (`label`: only `human` counts).
Background is what no instance covers. The mean is over the classes that occur in the labels.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from collections.abc import Iterator

import numpy as np
from PIL import Image

from objremove import Remover
from objremove.classes import VOC
from objremove.types import AnyArray


def labelled(path: str) -> Iterator[tuple[AnyArray, AnyArray]]:
    """(H, W, 3) RGB and (H, W) VOC indices of every hand-labelled photo of a tar."""
    parts: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, extension = member.name.partition(".")
            file = tar.extractfile(member)
            assert file is not None
            parts.setdefault(key, {})[extension] = file.read()
    for files in parts.values():
        if json.loads(files["json"])["label"] == "human":
            photo, labels = (Image.open(io.BytesIO(files[name])) for name in ("webp", "seg.png"))
            yield np.asarray(photo.convert("RGB")), np.asarray(labels)


def main() -> None:
    """Score and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tar")
    parser.add_argument("--segmenter", default="slim-deeplab-voc21")
    parser.add_argument("--conf", type=float)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    remover = Remover(options.segmenter, confidence=options.conf, refine_masks=False, offline=True)
    confusion = np.zeros((len(VOC), len(VOC)), np.int64)
    for number, (photo, labels) in enumerate(labelled(options.tar)):
        if number == options.limit:
            break
        answer = np.zeros(labels.shape, np.int64)
        for one in sorted(remover.find(photo), key=lambda one: one.score):
            answer[one.mask] = VOC.index(one.label)
        known = labels < len(VOC)
        pairs = labels[known].astype(np.int64) * len(VOC) + answer[known]
        confusion += np.bincount(pairs, minlength=confusion.size).reshape(confusion.shape)
    hit = np.diag(confusion)
    iou = hit / np.maximum(1, confusion.sum(0) + confusion.sum(1) - hit)
    present = confusion.sum(1) > 0
    print(f"mean IoU {iou[present].mean():.3f} over {present.sum()} classes present")
    print(", ".join(f"{name} {value:.2f}" for name, value, here in zip(VOC, iou, present, strict=True) if here))


if __name__ == "__main__":
    main()
