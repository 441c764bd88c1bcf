"""Shared by the tests of the whole road: a drawn scene, and a segmenter that finds drawn discs by their colour."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does: tests often run on busy machines

import numpy as np
import pytest

from objremove import plugins
from objremove.instances import Instance
from objremove.remover import Remover

RED, BLUE = (220, 30, 30), (30, 30, 220)


class ColourSegmenter:
    """Finds red discs as persons and blue ones as cars: a segmenter whose answers a reader can see."""

    name = "colours"
    classes = ("person", "car")

    def find(self, pixels, labels, *, confidence=None):
        import cv2

        found = []
        eight = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
        for label, colour in (("person", RED), ("car", BLUE)):
            if label in labels:
                near = (np.abs(eight.astype(int) - colour).max(axis=2) < 60).astype(np.uint8)
                count, parts = cv2.connectedComponents(near)
                found += [
                    Instance.from_mask(parts == part, label=label, score=0.9, source="colours")
                    for part in range(1, count)
                ]
        return found

    def look_again(self, pixels, labels, *, confidence=None):
        """Nothing, if no test says otherwise. (Whether a class is a `SecondLook` is asked once: it cannot become one for a test.)"""
        return []


def scene(
    height=180, width=240, discs=((60, 60, 18, RED), (170, 120, 12, RED), (200, 40, 9, RED), (60, 140, 14, BLUE))
):
    """(H, W, 3) uint8: a soft gradient with discs (x, y, radius, colour)."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([90 + 40 * x / width, 140 + 30 * y / height, np.full((height, width), 110)], axis=2)
    for cx, cy, radius, colour in discs:
        pixels[(x - cx) ** 2 + (y - cy) ** 2 <= radius**2] = colour
    return pixels.astype(np.uint8)


def make_colours(device, dtype):
    """What the toy's entry point refers to."""
    return ColourSegmenter()


@pytest.fixture
def remover(monkeypatch):
    """A `Remover` with the toy segmenter, installed as third parties install theirs, and Telea: quick, and without weights."""
    point = EntryPoint("colours", "conftest:make_colours", plugins.SEGMENTERS)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == plugins.SEGMENTERS else [])
    return Remover("colours", "telea")
