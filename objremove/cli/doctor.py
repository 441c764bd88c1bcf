"""`objremove doctor`: what this machine has, and what to do about what it lacks."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from objremove.cli.console import FAILED, OK
from objremove.errors import ObjRemoveError

PACKAGES = ("objremove", "torch", "torchvision", "numpy", "opencv-contrib-python-headless", "pillow", "jpeglib")
EXTRAS = {"segment-anything": "sam", "pillow-heif": "heif"}


def command() -> int:
    """Check versions, devices, weights and one removal from a drawn picture."""
    import numpy as np
    import torch

    from objremove import models
    from objremove.device import has_fast_bf16, resolve_device
    from objremove.remover import Remover

    device = resolve_device()
    print(f"python {sys.version.split()[0]} on {platform.platform()}")
    print(", ".join(f"{package} {_version(package)}" for package in PACKAGES))
    for package, extra in EXTRAS.items():
        print(
            f"{package} {_version(package)}"
            + ("" if _version(package) != "-" else f": pip install 'objremove[{extra}]'")
        )
    print(
        f"device auto = {device}, {torch.get_num_threads()} threads, bf16 {'fast' if has_fast_bf16(device) else 'not in hardware'}"
    )
    print(f"weights in {models.cache_dir()} (OBJREMOVE_HOME moves them)")
    here = [name for name in models.names() if models.get(name).needs_file and models.locate(name)]
    print(f"models here: {', '.join(here)}")
    picture = np.tile(np.linspace(60, 200, 96, dtype=np.uint8)[None, :, None], (96, 1, 3))
    hole = np.zeros((96, 96), np.bool_)
    hole[40:56, 40:56] = True
    try:
        remover = Remover(offline=True)
        remover.find(picture)
        result = remover.fill(picture, hole)
    except ObjRemoveError as error:
        print(f"FAILED: {error}")
        return FAILED
    if not np.array_equal(result.pixels[~hole], picture[~hole]):
        print("FAILED: a pixel outside the hole changed; please report this")
        return FAILED
    print("all well: found and filled on a drawn picture")
    return OK


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"
