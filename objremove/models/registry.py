"""The registry: one `Model` for each set of weights that has a name here, with licence, source and published checksum."""

from __future__ import annotations

import difflib
import importlib.util
from dataclasses import dataclass
from typing import Final, Literal

from objremove.errors import UsageError

Kind = Literal["segmenter", "prompter", "inpainter", "metric"]


@dataclass(frozen=True)
class Model:
    """One named model. What it is and where it comes from; where its file lies is the store's business.

    Attributes:
        name: what a user types.
        kind: `segmenter` (class names to masks), `prompter` (points and boxes to masks), `inpainter` (fills holes) or `metric`
            (what scores are computed with).
        title: one line for a table.
        licence: of the weights; where their terms are in doubt, it says so.
        source: who made it: paper and page.
        urls: where the file can be had, tried in this order; empty where nothing can be downloaded.
        filename: the file's path below the cache folder (or the embedded folder); empty for models without weights.
        size: bytes of that file, None where it is not published; a file of another size is refused.
        about: those bytes as its publisher rounds them, for tables; nothing is held against it.
        checksum: of that file as its publisher gives it: `sha256:` and the whole digest or its first digits, or `md5:`.
        classes: whose class list a segmenter knows.
        members: where `urls` are zip archives: the paths inside that are kept. The first one is `filename`.
        embedded: the file ships inside this package.
        package: what must be installed to run it, as it is imported; `extra` brings it.
        extra: of this package.
    """

    name: str
    kind: Kind
    title: str
    licence: str
    source: str
    urls: tuple[str, ...] = ()
    filename: str = ""
    size: int | None = None
    about: int | None = None
    checksum: str | None = None
    classes: Literal["voc", "coco"] | None = None
    members: tuple[str, ...] = ()
    embedded: bool = False
    package: str = ""
    extra: str = ""

    @property
    def lacks(self) -> str:
        """The command that installs what must be installed to run it; empty where all is."""
        if not self.package or importlib.util.find_spec(self.package):
            return ""
        return f'pip install "objremove[{self.extra}]"'

    @property
    def way(self) -> str:
        """The commands that bring it, and what runs it, to this machine."""
        return " && ".join(filter(None, (self.lacks, f"objremove models pull {self.name}")))

    @property
    def needs_file(self) -> bool:
        """Whether it has weights at all; the classical methods have none."""
        return bool(self.filename)


OFFICIAL_MEMBERS = ("models/best.ckpt", "config.yaml")
"""What a model is loaded from of a folder as the official LaMa code writes it, the weights first."""

_TORCHVISION = "https://download.pytorch.org/models/"
_TORCHVISION_LICENCE = "BSD-3-Clause (code and weights); trained on COCO photos, whose own terms vary"
_MIB = 1 << 20
_SAM = "https://dl.fbaipublicfiles.com/segment_anything/"
_LAMA_PAPER = "Suvorov et al., Resolution-robust Large Mask Inpainting with Fourier Convolutions, WACV 2022"
_LAMA_LICENCE = "Apache-2.0 (LaMa repository); trained on Places2, non-commercial data: terms openly questioned"
_OPENCV = "OpenCV, https://docs.opencv.org"


def _torchvision(name: str, title: str, paper: str, file: str, mib: float, classes: Literal["voc", "coco"]) -> Model:
    """A torchvision segmenter; the file name carries the first eight digits of its SHA-256.

    `mib` is what torchvision gives as the weights' `_file_size`: 2^20 bytes, to three decimals.
    """
    digits = file.removesuffix(".pth").rsplit("-", 1)[1]
    return Model(
        name=name,
        kind="segmenter",
        title=title,
        licence=_TORCHVISION_LICENCE,
        source=f"{paper}; https://docs.pytorch.org/vision/stable/models.html",
        urls=(_TORCHVISION + file,),
        filename=file,
        about=round(mib * _MIB),
        checksum=f"sha256:{digits}",
        classes=classes,
    )


def _sam(letter: str, title: str, file: str, size: int, md5: str) -> Model:
    return Model(
        name=f"sam_vit_{letter}",
        kind="prompter",
        title=title,
        licence="Apache-2.0 (code and weights)",
        source="Kirillov et al., Segment Anything, ICCV 2023; https://github.com/facebookresearch/segment-anything",
        urls=(_SAM + file,),
        filename=file,
        size=size,
        checksum=f"md5:{md5}",
        package="segment_anything",
        extra="sam",
    )


def _classical(name: str, title: str, source: str) -> Model:
    return Model(name=name, kind="inpainter", title=title, licence="Apache-2.0 (OpenCV)", source=source)


_DEEPLAB = "Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, 2017"
_FCN = "Long et al., Fully Convolutional Networks for Semantic Segmentation, CVPR 2015"
_MASK_RCNN = "He et al., Mask R-CNN, ICCV 2017"

_MODELS: Final[tuple[Model, ...]] = (
    Model(
        name="slim-deeplab-voc21",
        kind="segmenter",
        title="slim DeepLab, 21 VOC classes, 6.2 M parameters; ships with objremove",
        licence="Apache-2.0; trained on photos of mixed, partly research-only terms (weights/README.md)",
        source="this project, weights/README.md; after Chen et al., DeepLabV3, 2017",
        filename="slim-deeplab-voc21.safetensors",
        size=12_492_796,
        checksum="sha256:2b5677b3d1a2b5b56aeab7a994eabd54a65f4517842e18cc32f06e273f2618d8",
        classes="voc",
        embedded=True,
    ),
    _torchvision(
        "deeplabv3_resnet101",
        "DeepLabV3 ResNet-101, VOC classes, mean IoU 67.4 on COCO val",
        _DEEPLAB,
        "deeplabv3_resnet101_coco-586e9e4e.pth",
        233.217,
        "voc",
    ),
    _torchvision(
        "deeplabv3_resnet50",
        "DeepLabV3 ResNet-50, VOC classes, mean IoU 66.4 on COCO val",
        _DEEPLAB,
        "deeplabv3_resnet50_coco-cd0a2569.pth",
        160.515,
        "voc",
    ),
    _torchvision(
        "deeplabv3_mobilenet_v3_large",
        "DeepLabV3 MobileNetV3-Large, VOC classes, mean IoU 60.3 on COCO val",
        _DEEPLAB,
        "deeplabv3_mobilenet_v3_large-fc3c493d.pth",
        42.301,
        "voc",
    ),
    _torchvision(
        "fcn_resnet101",
        "FCN ResNet-101, VOC classes, mean IoU 63.7 on COCO val",
        _FCN,
        "fcn_resnet101_coco-7ecb50ca.pth",
        207.711,
        "voc",
    ),
    _torchvision(
        "fcn_resnet50",
        "FCN ResNet-50, VOC classes, mean IoU 60.5 on COCO val",
        _FCN,
        "fcn_resnet50_coco-1167a1af.pth",
        135.009,
        "voc",
    ),
    _torchvision(
        "lraspp_mobilenet_v3_large",
        "LR-ASPP MobileNetV3-Large, VOC classes, mean IoU 57.9 on COCO val",
        "Howard et al., Searching for MobileNetV3, ICCV 2019",
        "lraspp_mobilenet_v3_large-d234d4ea.pth",
        12.49,
        "voc",
    ),
    _torchvision(
        "maskrcnn_resnet50_fpn",
        "Mask R-CNN ResNet-50 FPN, 80 COCO classes, mask mAP 34.6 on COCO val",
        _MASK_RCNN,
        "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
        169.84,
        "coco",
    ),
    _torchvision(
        "maskrcnn_resnet50_fpn_v2",
        "Mask R-CNN ResNet-50 FPN v2, 80 COCO classes, mask mAP 41.8 on COCO val",
        f"{_MASK_RCNN}; Li et al., Benchmarking Detection Transfer Learning with Vision Transformers, 2021",
        "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth",
        177.219,
        "coco",
    ),
    _sam("b", "Segment Anything ViT-B", "sam_vit_b_01ec64.pth", 375_042_383, "01ec64d29a2fca3f0661936605ae66f8"),
    _sam("l", "Segment Anything ViT-L", "sam_vit_l_0b3195.pth", 1_249_524_607, "0b3195507c641ddb6910d2bb5adee89c"),
    _sam("h", "Segment Anything ViT-H", "sam_vit_h_4b8939.pth", 2_564_550_879, "4b8939a88964f0f4ff5f5b2642c598a6"),
    Model(
        name="grabcut",
        kind="prompter",
        title="GrabCut, no weights; ships with objremove",
        licence="Apache-2.0 (OpenCV)",
        source=f"Rother et al., GrabCut, SIGGRAPH 2004; {_OPENCV}",
    ),
    Model(
        name="lama-compact",
        kind="inpainter",
        title="compact LaMa, 9 blocks at half the width, 6.8 M parameters; ships with objremove",
        licence="Apache-2.0; trained on photos of mixed, partly research-only terms (weights/README.md)",
        source=f"this project, weights/README.md; after {_LAMA_PAPER}",
        filename="lama-compact.safetensors",
        size=13_653_958,
        checksum="sha256:e85dcfb0bc88833026784cc46906d4a3faf8ac150f87198571f6f4efbfb6c037",
        embedded=True,
    ),
    Model(
        name="big-lama",
        kind="inpainter",
        title="LaMa, 18 blocks, the official checkpoint (381 MB download)",
        licence=_LAMA_LICENCE,
        source=f"{_LAMA_PAPER}; https://github.com/advimman/lama",
        urls=("https://huggingface.co/smartywu/big-lama/resolve/main/big-lama.zip",),
        filename="big-lama/models/best.ckpt",
        # Two packings of the zip with different hashes circulate; the checkpoint inside is the same.
        members=OFFICIAL_MEMBERS,
        size=410_046_389,
        checksum="sha256:fccb7adffd53ec0974ee5503c3731c2c2f1e7e07856fd9228cdcc0b46fd5d423",
    ),
    Model(
        name="big-lama-torchscript",
        kind="inpainter",
        title="LaMa, 18 blocks, the same weights as a TorchScript file",
        licence=_LAMA_LICENCE,
        source=f"{_LAMA_PAPER}; traced for https://github.com/Sanster/IOPaint",
        urls=(
            "https://github.com/Sanster/models/releases/download/add_big_lama/big-lama.pt",
            "https://github.com/enesmsahin/simple-lama-inpainting/releases/download/v0.1.0/big-lama.pt",
        ),
        filename="big-lama.pt",
        size=205_669_692,
        checksum="sha256:344c77bbcb158f17dd143070d1e789f38a66c04202311ae3a258ef66667a9ea9",
    ),
    Model(
        name="anime-manga-big-lama",
        kind="inpainter",
        title="LaMa, 18 blocks, trained further on anime and manga pictures, TorchScript",
        licence="none stated by its publisher; derived from big-lama, whose terms are openly questioned",
        source=f"{_LAMA_PAPER}; https://github.com/Sanster/models",
        urls=("https://github.com/Sanster/models/releases/download/AnimeMangaInpainting/anime-manga-big-lama.pt",),
        filename="anime-manga-big-lama.pt",
        checksum="sha256:479d3afdcb7ed2fd944ed4ebcc39ca45b33491f0f2e43eb1000bd623cfb41823",
    ),
    Model(
        name="lama-fourier",
        kind="inpainter",
        title="LaMa, 9 blocks; no stable address: give the path of your own file",
        licence=_LAMA_LICENCE,
        source=f"{_LAMA_PAPER}; https://github.com/advimman/lama",
        filename="lama-fourier/models/best.ckpt",
    ),
    _classical(
        "shift-map",
        "shift-map, no weights: copies patches of the photo; the best looking of the classical ones",
        f"Pritch et al., Shift-Map Image Editing, ICCV 2009; cv2.xphoto, {_OPENCV}",
    ),
    _classical(
        "telea",
        "Telea, no weights: marches inwards; small holes only",
        f"Telea, An Image Inpainting Technique Based on the Fast Marching Method, 2004; {_OPENCV}",
    ),
    _classical(
        "navier-stokes",
        "Navier-Stokes, no weights: continues edges; small holes only",
        f"Bertalmio et al., Navier-Stokes, Fluid Dynamics, and Image and Video Inpainting, CVPR 2001; {_OPENCV}",
    ),
    Model(
        name="vgg16",
        kind="metric",
        title="VGG-16, the backbone of LPIPS in `objremove evaluate`",
        licence="BSD-3-Clause (torchvision); trained on ImageNet photos, whose own terms vary",
        source="Simonyan and Zisserman, ICLR 2015; https://docs.pytorch.org/vision/stable/models.html",
        urls=(_TORCHVISION + "vgg16-397923af.pth",),
        filename="vgg16-397923af.pth",
        about=round(527.796 * _MIB),
        checksum="sha256:397923af",
    ),
    Model(
        name="fid-inception",
        kind="metric",
        title="Inception v3 of 2015-12-05, the network of FID in `objremove evaluate`",
        licence="Apache-2.0 (TensorFlow, pytorch-fid); trained on ImageNet photos, whose own terms vary",
        source="Heusel et al., NeurIPS 2017; https://github.com/mseitzer/pytorch-fid",
        urls=(
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        ),
        filename="pt_inception-2015-12-05-6726825d.pth",
        size=95_628_359,
        checksum="sha256:6726825d",
    ),
)

REGISTRY: Final[dict[str, Model]] = {model.name: model for model in _MODELS}
"""Every model by name."""


def names(kind: Kind | None = None) -> tuple[str, ...]:
    """The names of all models, or of those of one kind, in the order of the table."""
    return tuple(model.name for model in _MODELS if kind in (None, model.kind))


def get(name: str) -> Model:
    """The model of that name.

    Raises:
        UsageError: there is none; the message names the closest ones.
    """
    if name in REGISTRY:
        return REGISTRY[name]
    close = difflib.get_close_matches(
        name.lower().replace("_", "-"), {n.replace("_", "-"): n for n in REGISTRY}, 3, 0.5
    )
    spelled = [n for c in close for n in REGISTRY if n.replace("_", "-") == c]
    hint = f"did you mean {' or '.join(spelled)}?" if spelled else f"known are {', '.join(REGISTRY)}"
    raise UsageError(f"unknown model {name!r}, and no such file: {hint}")
