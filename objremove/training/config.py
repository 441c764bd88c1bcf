"""What a training run is made of: frozen dataclasses, read from small TOML files and refused when a key or value is unknown."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from objremove.errors import UsageError
from objremove.inpainting.lama.generator import GeneratorConfig
from objremove.training.checks import refuse_below_0, refuse_no_range, refuse_no_share

T = TypeVar("T")


@dataclass(frozen=True)
class LoopConfig:
    """What every training loop needs to know.

    Attributes:
        batch: photos in a batch of one process.
        sizes: crop side in pixels from which progress on: ((0.0, 128), (0.5, 256)) crops at 128 px for the first half of the run.
        steps: length of the run in optimiser steps, unless a time budget ends it first.
        seed: of the initial weights and of the sample stream.
        curve: the learning rate over the run: `constant`, or half a `cosine` down to 2 %.
        warmup: steps over which the learning rate rises from 0.
        precision: of weights and convolutions, a precision of Lightning Fabric.
        compile: whether to run the network through `torch.compile`.
        workers: threads that prepare batches; 0: one on a CPU, beside a GPU every processor that this process may use.
        ema_decay: share of the average that a step keeps; it rises to that value over the first steps.
        log_every: steps between two readings of the losses.
        checkpoint_minutes: minutes between two evaluations, previews and checkpoints.
    """

    batch: int
    sizes: tuple[tuple[float, int], ...]
    steps: int
    seed: int = 0
    curve: Literal["constant", "cosine"] = "cosine"
    warmup: int = 0
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed"
    compile: bool = False
    workers: int = 0
    ema_decay: float = 0.999
    log_every: int = 50
    checkpoint_minutes: float = 15.0

    def __post_init__(self) -> None:
        """Refuse what no loop can run.

        Raises:
            ValueError: naming the field.
        """
        for name in ("batch", "steps", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        refuse_below_0(self, "seed", "warmup", "workers", "checkpoint_minutes")
        if not self.sizes or self.sizes[0][0] != 0 or list(self.sizes) != sorted(self.sizes):
            raise ValueError("sizes must begin at progress 0 and rise")
        if self.sizes[-1][0] >= 1:
            raise ValueError("sizes must begin before progress 1")
        if any(size < 32 or size % 16 for _, size in self.sizes):
            raise ValueError("sizes must be multiples of 16 pixels, 32 at least")
        if not 0 <= self.ema_decay < 1:
            raise ValueError("ema_decay must be in 0..1")

    def size(self, progress: float) -> int:
        """Crop side in pixels at `progress` (0..1)."""
        return next(size for start, size in reversed(self.sizes) if progress >= start)


@dataclass(frozen=True)
class DataConfig:
    """Which photos are drawn, and how often.

    Attributes:
        memory_gb: room for decoded photos, of training and validation, shared evenly by the processes on a machine; those beyond
            it stay where they are stored and are read whenever they are drawn.
        short_side: longer photos are reduced to this short side in pixels when decoded; 0 keeps them as they are.
        source_weights: relative frequency by source (the `source` of a record's JSON); unnamed ones have 1.
        label_weights: likewise by how the labels were made (`label`: human, human-person, pseudo, none).
        unlabelled_weight: factor for photos that show none of the classes.
        class_balance: 0 draws photos alike, 1 draws each photo by the inverse frequency of its rarest class; between: a power.
    """

    memory_gb: float = 12.0
    short_side: int = 0
    source_weights: dict[str, float] = field(default_factory=dict)
    label_weights: dict[str, float] = field(default_factory=dict)
    unlabelled_weight: float = 1.0
    class_balance: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what draws no photo.

        Raises:
            ValueError: naming the field.
        """
        refuse_below_0(self, "memory_gb", "short_side", "unlabelled_weight", "class_balance")
        for weights in (self.source_weights, self.label_weights):
            for name, weight in weights.items():
                if not 0 <= weight < math.inf:
                    raise ValueError(f"the weight of {name} must be 0 or more")


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of the inpainter's photos; the defaults are those of the LaMa Places recipe.

    Attributes:
        probability: of each of perspective, affine, optical distortion, CLAHE, brightness/contrast and hue/saturation/value.
        perspective: largest shift of a corner, as a share of the side.
        scale: range of the two independent scale factors.
        rotation: largest angle in degrees.
        distortion: largest radial coefficient.
        brightness: largest change, as a share of the full range; `contrast`: of the factor.
        hue, saturation, value: largest shifts in 8-bit steps (hue: of 180).
        clahe: highest clip limit of the local histogram equalisation (8x8 tiles).
    """

    probability: float = 0.5
    perspective: float = 0.06
    scale: tuple[float, float] = (0.7, 1.3)
    rotation: float = 40.0
    distortion: float = 0.05
    brightness: float = 0.2
    contrast: float = 0.2
    hue: int = 5
    saturation: int = 30
    value: int = 5
    clahe: float = 4.0

    def __post_init__(self) -> None:
        """Refuse what leaves no picture.

        Raises:
            ValueError: naming the field.
        """
        refuse_no_share(self, "probability")
        refuse_below_0(
            self,
            "perspective",
            "rotation",
            "distortion",
            "brightness",
            "contrast",
            "hue",
            "saturation",
            "value",
            "clahe",
        )
        refuse_no_range(self, "scale", most=math.inf)


@dataclass(frozen=True)
class MaskConfig:
    """How often each kind of training hole is drawn: relative frequencies of the generators in `mask_generators.py`."""

    large_irregular: float = 1.0
    large_boxes: float = 1.0
    narrow_irregular: float = 0.0
    narrow_boxes: float = 0.0
    shapes: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what draws no hole.

        Raises:
            ValueError: naming the field.
        """
        kinds = [kind.name for kind in fields(self)]
        refuse_below_0(self, *kinds)
        if not any(getattr(self, kind) for kind in kinds):
            raise ValueError(f"one of {', '.join(kinds)} must be above 0")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the inpainter's losses; the defaults are the official ones.

    Attributes:
        l1_known: of the absolute difference outside the hole; `l1_hole`: inside.
        adversarial: of the generator's non-saturating loss.
        feature_matching: of the mean squared difference of the discriminator's features. Where both are 0 there is no
            discriminator, and a step costs about half.
        perceptual: of the high-receptive-field perceptual loss.
        r1: of the gradient penalty; `r1_interval`: steps between two of them, weighted up by as much (Karras et al., 2020).
    """

    l1_known: float = 10.0
    l1_hole: float = 0.0
    adversarial: float = 10.0
    feature_matching: float = 100.0
    perceptual: float = 30.0
    r1: float = 0.001
    r1_interval: int = 1

    def __post_init__(self) -> None:
        """Refuse what divides by nothing.

        Raises:
            ValueError: naming the field.
        """
        refuse_below_0(self, "l1_known", "l1_hole", "adversarial", "feature_matching", "perceptual", "r1")
        if self.r1_interval < 1:
            raise ValueError("r1_interval must be at least 1")

    @property
    def judged(self) -> bool:
        """Whether a discriminator takes part."""
        return self.adversarial > 0 or self.feature_matching > 0


@dataclass(frozen=True)
class InpainterConfig:
    """A run of `objremove train inpainter`.

    Attributes:
        generator_lr: Adam's learning rate of the generator, before `loop.curve` and `loop.warmup`; `discriminator_lr`: likewise.
        gradient_clip: largest norm of each network's gradient, which is scaled down to it; 0: as it comes.
    """

    loop: LoopConfig
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    masks: MaskConfig = MaskConfig()
    losses: LossConfig = LossConfig()
    generator_lr: float = 1e-3
    discriminator_lr: float = 1e-4
    gradient_clip: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what would undo learning.

        Raises:
            ValueError: naming the field.
        """
        refuse_below_0(self, "generator_lr", "discriminator_lr", "gradient_clip")


@dataclass(frozen=True)
class SegmenterAugmentConfig:
    """Augmentation of the segmenter's photos.

    Attributes:
        area: range of the crop's share of the photo.
        aspect: largest logarithm of the crop's aspect ratio.
        brightness: largest relative change; `offset`: largest shift in 8-bit steps; `contrast`, `saturation`: likewise as factors.
        grey: probability of a grey photo; `blur`: of a blurred one.
        copy_paste: probability that an object of another photo is pasted in.
        paste_share: only objects of classes on at most this share of the photos are; 1: of all.
        cut_mix: probability that a box of the crop shows another photo, with its labels.
        mix_up: probability that the crop is blended with another photo; what then shows is known to a teacher only.
        rotation: largest angle in degrees.
    """

    area: tuple[float, float] = (0.2, 1.0)
    aspect: float = 0.35
    brightness: float = 0.3
    offset: float = 25.0
    contrast: float = 0.3
    saturation: float = 0.5
    grey: float = 0.1
    blur: float = 0.1
    copy_paste: float = 0.3
    paste_share: float = 0.04
    cut_mix: float = 0.0
    mix_up: float = 0.0
    rotation: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what leaves no picture.

        Raises:
            ValueError: naming the field.
        """
        refuse_no_share(self, "grey", "blur", "copy_paste", "paste_share", "cut_mix", "mix_up")
        refuse_below_0(self, "aspect", "brightness", "offset", "contrast", "saturation", "rotation")
        refuse_no_range(self, "area", most=1.0)


@dataclass(frozen=True)
class SegmenterConfig:
    """A run of `objremove train segmenter`.

    Attributes:
        network: what is trained: the one that ships, or a teacher for it (`training/lite_deeplab.py`).
        width: channels of `slim-deeplab` at stride 4.
        freeze_backbone: whether the backbone of `lite-deeplab` stays as it is, so that only its head learns: four times as fast.
        lr: AdamW's learning rate, before `loop.curve` and `loop.warmup`.
        weight_decay: share of a weight that a step takes away, times the learning rate.
        gradient_clip: largest norm of the gradient, which is scaled down to it; 0: as it comes.
        norm_momentum: share of a batch in the running statistics of the norms.
        hint: weight of the loss by which a teacher's features are foretold.
        distillation: weight of the divergence from a teacher's answers.
    """

    loop: LoopConfig
    network: Literal["slim-deeplab", "lite-deeplab"] = "slim-deeplab"
    data: DataConfig = DataConfig()
    augment: SegmenterAugmentConfig = SegmenterAugmentConfig()
    width: int = 48
    freeze_backbone: bool = False
    lr: float = 1.5e-3
    weight_decay: float = 0.02
    gradient_clip: float = 5.0
    norm_momentum: float = 0.05
    hint: float = 1.0
    distillation: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what would undo learning.

        Raises:
            ValueError: naming the field.
        """
        refuse_below_0(self, "lr", "weight_decay", "gradient_clip")
        if self.freeze_backbone and self.network != "lite-deeplab":
            raise ValueError(
                f"freeze_backbone is for lite-deeplab: {self.network} has no backbone that was trained before"
            )


def shipped() -> list[str]:
    """Names of the configurations inside the package."""
    folder = resources.files("objremove.training") / "configs"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_config(kind: type[T], name_or_path: str, overrides: Iterable[str] = ()) -> T:
    """The shipped configuration of that name or the one in a TOML file, with single values replaced.

    Args:
        kind: `InpainterConfig` or `SegmenterConfig`.
        name_or_path: a name of `shipped()`, or a path.
        overrides: TOML assignments such as `loop.batch=8`.

    Raises:
        UsageError: no such configuration, no TOML, or an unknown key or wrong value in it.
    """
    table = _read(name_or_path)
    for assignment in overrides:
        try:
            _merge(table, tomllib.loads(assignment))
        except tomllib.TOMLDecodeError:
            raise UsageError(f"--set {assignment!r} is no TOML assignment: write it like loop.batch=8") from None
    return from_table(kind, table, name_or_path)


def from_table(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """A dataclass of `kind` from parsed TOML; nested tables become nested dataclasses.

    Raises:
        UsageError: naming the key.
    """
    hints = get_type_hints(kind)
    for key in table:
        if key not in hints:
            close = difflib.get_close_matches(key, hints, n=1)
            advice = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(hints)}"
            raise UsageError(f"{where}: unknown setting {key!r}: {advice}")
    values = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:  # a value out of range, or one that is missing
        raise UsageError(f"{where}: {error}") from None


def _read(name_or_path: str) -> dict[str, Any]:
    if name_or_path in shipped():
        text = (resources.files("objremove.training") / "configs" / f"{name_or_path}.toml").read_text("utf-8")
    elif Path(name_or_path).is_file():
        text = Path(name_or_path).read_text("utf-8", "replace")
    else:
        raise UsageError(f"no training configuration {name_or_path!r}: take {', '.join(shipped())} or a TOML file")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name_or_path} is no TOML: {error}") from None


def _merge(table: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = value


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and is_dataclass(hint) and isinstance(value, dict):
        return from_table(hint, value, where)
    if origin is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(_convert(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    elif origin is dict and isinstance(value, dict):
        return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    elif origin is Literal:
        if value in arguments:
            return value
        raise UsageError(f"{where} must be one of {', '.join(map(str, arguments))}, not {value!r}")
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    wanted = hint.__name__ if isinstance(hint, type) and origin is None else str(hint)
    raise UsageError(f"{where} must be {wanted}, not {value!r}")
