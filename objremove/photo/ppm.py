"""PPM of 16-bit colour, which Pillow cuts to 8 bits."""

from __future__ import annotations

import re

import numpy as np

from objremove.errors import PhotoError
from objremove.types import AnyArray

_DEEPEST = 65535
_HEADER = re.compile(rb"P6" + 3 * rb"(?:\s|#[^\n]*\n)+(\d+)" + rb"\s")


def depth(data: bytes) -> int:
    """Bits of a colour's sample; 8 for PPM files of other kinds."""
    header = _HEADER.match(data)
    return max(8, int(header[3]).bit_length()) if header else 8


def deep_mode(data: bytes) -> str | None:
    """`RGB;16` where the samples use all of 16 bits, else None."""
    header = _HEADER.match(data)
    return "RGB;16" if header and int(header[3]) == _DEEPEST else None


def read_deep(data: bytes, mode: str) -> AnyArray:
    """(H, W, 3) uint16 samples of a file of that `deep_mode`; `PhotoError` where it ends too early."""
    header = _HEADER.match(data)
    if header is None:
        raise PhotoError(f"no PPM of {mode}")
    width, height = int(header[1]), int(header[2])
    if len(data) - header.end() < 6 * width * height:
        raise PhotoError("truncated PPM: the file ends before its last row; get a fresh copy")
    samples = np.frombuffer(data, ">u2", 3 * width * height, header.end())
    return samples.reshape(height, width, 3).astype(np.uint16)


def encode_deep(samples: AnyArray) -> bytes:
    """A PPM of (H, W, 3) uint16 samples."""
    height, width = samples.shape[:2]
    return b"P6\n%d %d\n%d\n" % (width, height, _DEEPEST) + samples.astype(">u2").tobytes()
