"""Scores that need a network: LPIPS, FID, and the distance of a given backbone. Nothing here downloads: files are given."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from objremove import models
from objremove.errors import ModelError
from objremove.evaluation.metrics import as_tensor
from objremove.training.files import Bytes
from objremove.training.perceptual import PerceptualLoss, load_backbone
from objremove.types import Mask

if TYPE_CHECKING:
    from torchmetrics.image.fid import FrechetInceptionDistance

LPIPS_MODEL, FID_MODEL = "vgg16", "fid-inception"
"""Registry names of the backbones that the LaMa protocol asks for."""

Distance = Callable[[Bytes, Bytes, Mask], float]
"""(filled, original, hole) to a distance; pictures are (H, W, 3) uint8."""


def find_backbone(name: str, file: str) -> Path | None:
    """The file that `file` names, or the checked one of the registry where it is `auto` and on this machine; else None.

    Raises:
        ModelError: a named file is missing, or the registry's is not the published one.
    """
    if file != "auto":
        if not Path(file).is_file():
            raise ModelError(f"backbone {file} is no file: give its path, or auto")
        return Path(file)
    return models.checked_path(name) if models.locate(name) else None


def perceptual_distance(path: Path, device: torch.device) -> Distance:
    """The squared difference of unit-length features, within the hole; see `objremove.training.perceptual`.

    It has no learned weights, so it is not LPIPS: it compares methods within one run.
    """
    distance = PerceptualLoss([load_backbone(path)]).to(device)

    def measure(filled: Bytes, original: Bytes, hole: Mask) -> float:
        mask = torch.from_numpy(hole)[None, None].float().to(device)
        with torch.inference_mode():
            return float(distance(as_tensor(filled).to(device), as_tensor(original).to(device), mask))

    return measure


def lpips(path: Path, device: torch.device) -> Distance:
    """LPIPS v0.1 of the whole picture with a VGG-16 backbone, as LaMa is scored (Zhang et al., CVPR 2018).

    The learned weights come with torchmetrics, the backbone is the file: torchvision's `vgg16-397923af.pth`.

    Raises:
        ModelError: the file is no VGG-16.
    """
    # The public metric would download the backbone: only the network beneath it takes one that is given.
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    state = _load(path)
    if "features.28.weight" not in state:  # the last layer that LPIPS looks at
        raise ModelError(f"{path} is no VGG-16 of torchvision: objremove models pull {LPIPS_MODEL}")
    network = _NoTrainLpips(net="vgg", pnet_rand=True)
    try:
        for part in network.net.children():
            part.load_state_dict({key: state[f"features.{key}"] for key in part.state_dict()})
    except (KeyError, RuntimeError):
        raise ModelError(f"{path} is another VGG than VGG-16: objremove models pull {LPIPS_MODEL}") from None

    network.to(device)

    def measure(filled: Bytes, original: Bytes, hole: Mask) -> float:
        with torch.inference_mode():
            return float(network(as_tensor(filled).to(device), as_tensor(original).to(device), normalize=True))

    return measure


class FrechetDistances:
    """FID of each method over one hole set, between its fills and their originals.

    Args:
        path: the Inception network of 2015-12-05 in PyTorch form, `pt_inception-2015-12-05-6726825d.pth`.
        device: where the network runs.

    Raises:
        ModelError: the file is another network.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        from torchmetrics.image.fid import NoTrainInceptionV3

        try:
            self._network = NoTrainInceptionV3(
                name="inception-v3-compat", features_list=["2048"], feature_extractor_weights_path=str(path)
            ).to(device)
        except (RuntimeError, OSError, ValueError, AttributeError, pickle.UnpicklingError):
            raise ModelError(f"{path} is no FID Inception: objremove models pull {FID_MODEL}") from None
        self._device = device
        self._running: dict[str, FrechetInceptionDistance] = {}

    def update(self, original: Bytes, fills: Mapping[str, Bytes]) -> None:
        """Add a picture, (H, W, 3) uint8, and what each method has made of it; the network looks at each of them once."""
        from torchmetrics.image.fid import FrechetInceptionDistance

        seen = self._features(original)
        for method, filled in fills.items():
            if method not in self._running:
                self._running[method] = FrechetInceptionDistance(feature=_Features(seen.shape[1]))
            self._running[method].update(seen, real=True)
            self._running[method].update(self._features(filled), real=False)

    def compute(self) -> dict[str, float]:
        """FID by method, of those with two pictures or more; begins anew."""
        running, self._running = self._running, {}
        return {
            method: float(metric.compute())
            for method, metric in running.items()
            if int(metric.real_features_num_samples) > 1
        }

    def _features(self, picture: Bytes) -> Tensor:
        """(1, features) on the CPU."""
        tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].to(self._device)
        with torch.inference_mode():
            return torch.as_tensor(self._network(tensor)).flatten(1).cpu()


class _Features(torch.nn.Module):
    """What torchmetrics takes for the network: it is given features."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.num_features = count

    def forward(self, features: Tensor) -> Tensor:
        return features


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, EOFError, ValueError, TypeError, pickle.UnpicklingError) as error:
        raise ModelError(f"{path} is no whole weight file ({type(error).__name__}): fetch it again") from None
