"""Which network belongs to which name: how to build it, which classes it tells apart, at which scale it was trained."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torchvision.models import detection, segmentation
from torchvision.models.detection.anchor_utils import AnchorGenerator

from objremove.classes import COCO, VOC
from objremove.segmentation.slim_deeplab import SlimDeepLab
from objremove.segmentation.weights import State, fits, load_state

_VOC_CLASSES: Final = dict(enumerate(VOC))
_OLD_NAMES: Final = tuple(
    (re.compile(old), new)
    for old, new in (
        (r"(fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$", r"\1.0.\2"),
        (r"(rpn\.head\.conv)\.(weight|bias)$", r"\1.0.0.\2"),
    )
)


@dataclass(frozen=True)
class Architecture:
    """A network without its weights.

    Attributes:
        build: makes it in eval mode, without auxiliary heads.
        classes: class name by the index of its logit.
        short_side: the photo's short side in pixels that it is given.
        stride: input pixels for each logit before any upsampling inside the network.
        side_multiple: sides are made multiples of this: on others a network whose cells reach beyond the picture, and are laid over it
            from edge to edge again, answers with a shift.
        mirrored_side: the short side at which the mirrored photo is seen, to be averaged with the first answer; None: it is not.
        boxes: whether it is a detector with a mask in each box (Mask R-CNN) or labels every pixel.
    """

    build: Callable[[], nn.Module]
    classes: dict[int, str]
    short_side: int = 520
    stride: int = 8
    side_multiple: int = 1
    mirrored_side: int | None = None
    boxes: bool = False


def _semantic(builder: Callable[..., nn.Module]) -> Callable[[], nn.Module]:
    return lambda: builder(weights=None, weights_backbone=None, num_classes=len(VOC)).eval()


def _mask_rcnn(builder: Callable[..., nn.Module], norm_eps: float) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        network = builder(weights=None, weights_backbone=None, num_classes=91).eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = norm_eps
        return network

    return build


ARCHITECTURES: Final[dict[str, Architecture]] = {
    "slim-deeplab-voc21": Architecture(
        lambda: SlimDeepLab().eval(), _VOC_CLASSES, short_side=224, side_multiple=16, mirrored_side=288
    ),
    "deeplabv3_resnet101": Architecture(_semantic(segmentation.deeplabv3_resnet101), _VOC_CLASSES),
    "deeplabv3_resnet50": Architecture(_semantic(segmentation.deeplabv3_resnet50), _VOC_CLASSES),
    "deeplabv3_mobilenet_v3_large": Architecture(
        _semantic(segmentation.deeplabv3_mobilenet_v3_large), _VOC_CLASSES, stride=16
    ),
    "fcn_resnet101": Architecture(_semantic(segmentation.fcn_resnet101), _VOC_CLASSES),
    "fcn_resnet50": Architecture(_semantic(segmentation.fcn_resnet50), _VOC_CLASSES),
    "lraspp_mobilenet_v3_large": Architecture(_semantic(segmentation.lraspp_mobilenet_v3_large), _VOC_CLASSES),
    # torchvision loads its first Mask R-CNN weights with the norms' epsilon set to 0: they were trained by other code.
    "maskrcnn_resnet50_fpn": Architecture(
        _mask_rcnn(detection.maskrcnn_resnet50_fpn, 0.0), COCO, short_side=800, boxes=True
    ),
    "maskrcnn_resnet50_fpn_v2": Architecture(
        _mask_rcnn(detection.maskrcnn_resnet50_fpn_v2, 1e-5), COCO, short_side=800, boxes=True
    ),
}
"""Every segmenter of the registry by name."""


def skeleton(name: str) -> nn.Module:
    """The network of that name on the meta device: shapes without values, made in no time and ready for `load_state`."""
    with torch.device("meta"):
        network = ARCHITECTURES[name].build()
    if ARCHITECTURES[name].boxes:
        # Anchors are no parameters: no file brings them, so that they are computed here for real.
        rpn: Any = network.rpn
        made = rpn.anchor_generator
        rpn.anchor_generator = AnchorGenerator(made.sizes, made.aspect_ratios)
    return network


def without_auxiliary(state: State) -> State:
    """`state` without the heads that only training uses."""
    return {key: value for key, value in state.items() if not key.startswith("aux_classifier.")}


def renamed(state: State) -> State:
    """`state` with the names of today's torchvision: its first Mask R-CNN weights (2019) still have those of its first code."""
    found = {}
    for key, value in state.items():
        for old, new in _OLD_NAMES:
            key = old.sub(new, key)
        found[re.sub(r"mask_fcn(\d)\.(?=weight|bias)", lambda at: f"{int(at[1]) - 1}.0.", key)] = value
    return found


def network_in(state: State, path: Path, name: str | None = None) -> tuple[str, nn.Module] | None:
    """The name of the architecture and the network in a state dict, told by its keys where no `name` is given; None where it is none
    of them.

    A `SlimDeepLab` may be of any width and depth.

    Raises:
        ModelError: keys or shapes are not those of `name`.
    """
    name = name or next((known for known in ARCHITECTURES if fits(skeleton(known), state)), None)
    if name is not None:
        network = skeleton(name)
        load_state(network, state, path=path)
        return name, network
    if not SlimDeepLab.is_in(state):
        return None
    try:
        slim = SlimDeepLab.of(state).eval().requires_grad_(False)
    except RuntimeError:
        return None
    return ("slim-deeplab-voc21", slim) if slim.classifier.out_channels == len(VOC) else None
