"""The shelf of models: which one `auto` takes, and each loaded once however many photos and threads ask for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from objremove import forks, inpainting, models, segmentation
from objremove.classes import COCO, VOC
from objremove.device import resolve_device, resolve_precision
from objremove.inpainting import Inpainter
from objremove.segmentation import Prompter, Segmenter

if TYPE_CHECKING:
    import torch

EMBEDDED_SEGMENTER = "slim-deeplab-voc21"
EMBEDDED_PROMPTER = "grabcut"
EMBEDDED_INPAINTER = "lama-compact"
"""What ships with the package: `auto` takes it while nothing better is on this machine."""

SEGMENTERS = (
    "maskrcnn_resnet50_fpn_v2",
    "deeplabv3_resnet101",
    "maskrcnn_resnet50_fpn",
    "deeplabv3_resnet50",
    "fcn_resnet101",
    "deeplabv3_mobilenet_v3_large",
    "fcn_resnet50",
    "lraspp_mobilenet_v3_large",
    EMBEDDED_SEGMENTER,
)
PROMPTERS = ("sam_vit_h", "sam_vit_l", "sam_vit_b")
INPAINTERS = ("big-lama", "big-lama-torchscript", EMBEDDED_INPAINTER)
"""What `auto` prefers, best first, of the weights that are already on this machine."""

_AUTO = {
    "segmenter": (SEGMENTERS, EMBEDDED_SEGMENTER),
    "prompter": (PROMPTERS, EMBEDDED_PROMPTER),
    "inpainter": (INPAINTERS, EMBEDDED_INPAINTER),
}


class Shelf:
    """Loads the models that are named, or the best that are here.

    Args:
        segmenter, prompter, inpainter: a name of the registry, a plug-in, a weight file, or `auto`.
        device, precision: see `objremove.device`.
        offline: never download.
        threads: processor threads of torch and OpenCV, which have one number for the whole process; None leaves theirs.
        seed: for inpainters that draw random numbers.
        on_download: called with (bytes received, bytes in all) while weights are fetched.
    """

    def __init__(
        self,
        segmenter: str,
        prompter: str,
        inpainter: str,
        *,
        device: str,
        precision: str,
        offline: bool,
        threads: int | None,
        seed: int,
        on_download: Callable[[int, int], None] | None,
    ) -> None:
        self._names = {"segmenter": segmenter, "prompter": prompter, "inpainter": inpainter}
        self._device, self._precision = device, precision
        self._offline, self._threads, self._seed, self._on_download = offline, threads, seed, on_download
        self._loaded: dict[tuple[str, str], Any] = {}
        self._chosen: dict[tuple[str, frozenset[str]], str] = {}
        self._hashes: dict[int, tuple[str, str | None]] = {}
        self.renew()

    def renew(self) -> None:
        """Make its locks: at the beginning, and in a forked child (`objremove.forks`)."""
        self._locks = {kind: threading.Lock() for kind in self._names}
        forks.renew_in_children(self)

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which loads its own models: the choice of them, and none that is loaded."""
        fresh = {**vars(self), "_loaded": {}, "_hashes": {}}
        return {name: value for name, value in fresh.items() if name not in ("device", "_locks")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """See `__getstate__`."""
        vars(self).update(state)
        self.renew()

    @forks.cached
    def device(self) -> torch.device:
        """Where the networks run; UsageError where that isn't there."""
        if self._threads is not None:
            import cv2
            import torch

            torch.set_num_threads(self._threads)
            cv2.setNumThreads(self._threads)
        return resolve_device(self._device)

    def segmenter(self, labels: Iterable[str] = ()) -> Segmenter:
        """The segmenter that was named, or the best one here that knows every label (else the best one here)."""
        segmenter: Segmenter = self._once("segmenter", self._choice("segmenter", frozenset(labels)))
        return segmenter

    @property
    def prompter_name(self) -> str:
        """The prompter that `prompter` answers."""
        return self._choice("prompter")

    def prompter(self) -> Prompter:
        """The prompter that was named, or the best one here."""
        prompter: Prompter = self._once("prompter", self.prompter_name)
        return prompter

    def inpainter(self) -> Inpainter:
        """The inpainter that was named, or the best one here."""
        inpainter: Inpainter = self._once("inpainter", self._choice("inpainter"))
        return inpainter

    def identity(self, model: Segmenter | Prompter | Inpainter) -> tuple[str, str | None]:
        """The name that a model of this shelf was asked for by, and the SHA-256 of its weights; None without any."""
        return self._hashes[id(model)]

    def _choice(self, kind: str, labels: frozenset[str] = frozenset()) -> str:
        """The name that was given, or what `auto` stands for: settled at the first use, whatever comes to this machine later."""
        name = self._names[kind]
        if name != "auto":
            return name
        if (kind, labels) not in self._chosen:
            names, embedded = _AUTO[kind]
            self._chosen.setdefault((kind, labels), _best(names, labels) or _best(names) or embedded)
        return self._chosen[kind, labels]

    def _once(self, kind: str, name: str) -> Any:
        """Load a model at its first use; other threads wait for it."""
        with self._locks[kind]:
            if (kind, name) not in self._loaded:
                model = self._load(kind, name)
                path = models.locate(name) if name in models.REGISTRY or os.path.exists(name) else None
                self._hashes[id(model)] = (name, models.digest(path) if path else None)
                self._loaded[kind, name] = model
            return self._loaded[kind, name]

    def _load(self, kind: str, name: str) -> Any:
        device = self.device
        dtype = resolve_precision(self._precision, device)
        if kind == "inpainter":
            return inpainting.load(
                name, device=device, dtype=dtype, seed=self._seed, offline=self._offline, progress=self._on_download
            )
        load = segmentation.load if kind == "segmenter" else segmentation.load_prompter
        return load(name, device=device, dtype=dtype, offline=self._offline, progress=self._on_download)


def chosen_from() -> tuple[str, ...]:
    """The models that are on this machine, of those that `auto` chooses from: another answer may mean another choice."""
    return tuple(name for names, _ in _AUTO.values() for name in names if usable(models.get(name)))


def _best(names: Sequence[str], labels: Iterable[str] = ()) -> str | None:
    """The first of `names` that can be used on this machine and that knows every label."""
    wanted = set(labels)
    for name in names:
        model = models.get(name)
        known = set(COCO.values()) if model.classes == "coco" else set(VOC[1:])
        if usable(model) and wanted <= known:
            return name
    return None


def usable(model: models.Model) -> bool:
    """Whether its weights lie on this machine, and what runs them."""
    return not model.lacks and (not model.needs_file or models.locate(model.name) is not None)
