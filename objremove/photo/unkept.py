"""What of a file is not kept although it could be read: small pictures of the photo as it was, and colours that nobody here converts."""

from __future__ import annotations

import struct
from typing import Any

from PIL import Image

from objremove.errors import PhotoError
from objremove.photo import metadata, png, tiff

_CREDENTIALS_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
"""The number of the box that holds content credentials in AVIF and HEIC."""
_HDR = {16: "PQ", 18: "HLG"}
_SRGB_PRIMARIES = (1, 2, 5, 6)  # BT.709, none in particular, and BT.601, which is next to it


def pictures(image: Image.Image, data: bytes, names: set[bytes]) -> tuple[str, ...]:
    """What goes because it shows the photo as it was, or vouches for it; `names` are those of a PNG's chunks."""
    segments: list[tuple[str, bytes]] = getattr(image, "applist", [])
    tags: Any = getattr(image, "tag_v2", {})
    credentials = any(name == "APP11" and body.startswith(metadata.JUMBF) for name, body in segments)
    credentials |= image.format in ("AVIF", "HEIF") and _CREDENTIALS_BOX in data
    credentials |= image.format == "WEBP" and b"C2PA" in _webp_chunks(data)
    private = sorted(name.decode("latin-1") for name in names if png.is_private(name))
    notes = {
        "content credentials (C2PA) are not kept: they vouch for the photo as it was": credentials
        or png.CREDENTIALS in names
        or tiff.CREDENTIALS in tags,
        "extended XMP is not kept: it may show the photo as it was": any(
            name == "APP1" and body.startswith(metadata.EXTENDED_XMP) for name, body in segments
        ),
        "Photoshop's layers are not kept: they show the photo as it was": tiff.LAYERS in tags,
        f"private parts of the PNG ({', '.join(private)}) are not kept: they may show the photo as it was": bool(
            private
        ),
    }
    return tuple(note for note, holds in notes.items() if holds) + tiff.lost_channels(image)


def colours(image: Image.Image, data: bytes) -> tuple[str, ...]:
    """What becomes of colours that the file itself describes by number (nclx of ISO 23091-2), not by a profile.

    Raises:
        PhotoError: they are of high dynamic range, which 8 bits as they are cannot show.
    """
    if image.format not in ("AVIF", "HEIF") or image.info.get("icc_profile"):
        return ()
    known = image.info.get("nclx_profile") if image.format == "HEIF" else None
    place = data.find(b"colrnclx") if image.format == "AVIF" else -1
    if known:
        primaries, transfer = int(known["color_primaries"]), int(known["transfer_characteristics"])
    elif place >= 0 and place + 12 <= len(data):
        primaries, transfer = struct.unpack_from(">HH", data, place + 8)
    else:
        return ()
    if transfer in _HDR:
        raise PhotoError(
            f"colours of high dynamic range ({_HDR[transfer]}) are not supported; convert the photo to sRGB first"
        )
    return () if primaries in _SRGB_PRIMARIES else ("colours of a wide gamut without a profile are taken for sRGB",)


def _webp_chunks(data: bytes) -> set[bytes]:
    """The names of a file's chunks."""
    names, position = set(), 12
    while position + 8 <= len(data):
        names.add(data[position : position + 4])
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + size + size % 2
    return names
