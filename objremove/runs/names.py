"""Which files are photos by their names, and which nobody means when he says "my photos"."""

from __future__ import annotations

import os
import re
from collections.abc import Collection

from objremove.runs.layout import REPORT

PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".tif", ".tiff", ".webp", ".avif"),
    *(".bmp", ".dib", ".gif", ".heic", ".heif", ".ppm", ".pgm", ".pbm", ".pnm"),
)
"""What a photo in a folder is called; files that are named one by one may be called anything."""

_JUNK_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "icon\r", REPORT})
_JUNK_FOLDERS = frozenset(
    {"__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found"}
)
_OWN_STEM = re.compile(r"(.+)\.(removed|detect)(\.mask|\.compare)?")
OWN = "made by objremove from the photo beside it"
"""Why a file is skipped for which `made_from` holds."""

_SIDECARS = (
    *(".xmp", ".aae", ".thm", ".pp3", ".dop", ".json", ".txt", ".xml", ".csv", ".md5", ".sha256"),
    *(".part", ".tmp", ".crdownload", ".orig"),
)


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is passed over without a word: hidden, the system's, or a sidecar."""
    lower = name.lower()
    return lower.startswith((".", "~$")) or lower in _JUNK_FILES or os.path.splitext(lower)[1] in _SIDECARS


def made_from(stem: str, beside: Collection[str]) -> bool:
    """Whether a file of this stem is what objremove makes of a photo whose stem is `beside` it."""
    own = _OWN_STEM.fullmatch(stem)
    return own is not None and own[1] in beside


def is_junk_folder(name: str) -> bool:
    """Whether a folder of this name holds no photos of one's own: it is hidden, or the system's."""
    lower = name.lower()
    return lower.startswith(".") or lower in _JUNK_FOLDERS
