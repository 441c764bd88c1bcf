"""Contact sheets of a run: pictures of any size, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from objremove.training.files import Bytes

_SIDE = 256


def sheet(rows: Sequence[Sequence[Bytes]], columns: int = 1) -> Bytes:
    """Equally long rows of (H, W, 3) RGB pictures, each brought into the middle of a square; `columns` rows stand beside each other."""
    strips = [np.concatenate([_fitted(picture) for picture in row], axis=1) for row in rows]
    strips += [np.zeros_like(strips[0])] * (-len(strips) % columns)
    lines = [np.concatenate(strips[start : start + columns], axis=1) for start in range(0, len(strips), columns)]
    return np.concatenate(lines, axis=0)


def _fitted(picture: Bytes) -> Bytes:
    scale = min(1.0, _SIDE / max(picture.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    square = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    top, left = (_SIDE - height) // 2, (_SIDE - width) // 2
    square[top : top + height, left : left + width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return square
