"""Teachers: a network that learns classes from few labels also learns what a frozen one, trained on more, makes of the same picture.

Labels are scarce and unknown on much of a photo; a teacher has something to say at every place. A backbone gives its features as
hints (FitNets, Romero et al., 2015), a segmenter the probabilities of its classes (Hinton et al., "Distilling the Knowledge in a Neural
Network", 2015), one whose deepest features can be had gives both. Only the student ships: the teacher, and the projection onto its
features, are left behind with the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from objremove.classes import VOC
from objremove.errors import ModelError
from objremove.segmentation.architectures import ARCHITECTURES, network_in, without_auxiliary
from objremove.segmentation.slim_deeplab import SlimDeepLab
from objremove.segmentation.weights import State, fits, load_state, read_state
from objremove.training.lite_deeplab import LiteDeepLab
from objremove.training.perceptual import IMAGENET_MEAN, IMAGENET_STD, Backbone, load_backbone

ANSWER_STRIDE = 4
"""In training a network answers at every fourth pixel: finer than what it resolves (stride 8), and a third of the time less."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a teacher sees in a batch.

    Attributes:
        features: (B, C, h, w), each channel brought to mean 0 and deviation 1 over the batch; None: it shows none.
        logits: (B, classes, *answer_size); None: it tells no classes apart.
    """

    features: Tensor | None
    logits: Tensor | None


class Teacher(nn.Module):
    """A frozen network.

    Args:
        network: a backbone, a network with `encode` and `decode`, or one that answers `{"out": logits}` of the VOC classes.

    Attributes:
        channels: of its features; 0 where it shows none.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        lesson = self(torch.zeros(2, 3, 64, 64))
        self.channels = 0 if lesson.features is None else int(lesson.features.shape[1])

    @torch.no_grad()
    def forward(self, image: Tensor) -> Lesson:
        """(B, 3, H, W) RGB in 0..1."""
        network = self.network
        if isinstance(network, Backbone):
            return Lesson(_standardised(network(image)[-1]), None)
        image = (image - self.get_buffer("mean")) / self.get_buffer("std")
        if isinstance(network, SlimDeepLab | LiteDeepLab):
            low, high = network.encode(image)
            return Lesson(_standardised(high), network.decode(low, high, answer_size(image)))
        # Antialiasing knows no half precision on a CPU.
        answers = network(image)["out"].float()
        return Lesson(None, F.interpolate(answers, answer_size(image), mode="bilinear", antialias=True))


class Ensemble(nn.Module):
    """Teachers as one: the mean of their probabilities, and the features of the first that shows some.

    Args:
        teachers: one or more.

    Attributes:
        channels: of its features; 0 where no teacher shows any.
    """

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        super().__init__()
        self.teachers = nn.ModuleList(teachers)
        self.channels = next((teacher.channels for teacher in teachers if teacher.channels), 0)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Lesson:
        """(B, 3, H, W) RGB in 0..1."""
        lessons: list[Lesson] = [teacher(image) for teacher in self.teachers]
        features = next((lesson.features for lesson in lessons if lesson.features is not None), None)
        answers = [lesson.logits.float().softmax(1) for lesson in lessons if lesson.logits is not None]
        return Lesson(features, torch.stack(answers).mean(0).clamp_min(1e-8).log() if answers else None)


class TaughtSegmenter(nn.Module):
    """A student with a linear guess of the teacher's features beside its logits.

    Args:
        student: what is trained, and what is kept.
        channels: of the teacher's features; 0: it shows none, and nothing is guessed.
    """

    def __init__(self, student: SlimDeepLab | LiteDeepLab, channels: int) -> None:
        super().__init__()
        self.student = student
        self.guess = nn.Conv2d(student.high_channels, channels, 1) if channels else None

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """`out`: logits (B, classes, *answer_size); `hint`, where there is something to guess: (B, channels, H/16, W/16)."""
        low, high = self.student.encode(image)
        answers = {"out": self.student.decode(low, high, answer_size(image))}
        return answers if self.guess is None else answers | {"hint": self.guess(high)}


def answer_size(image: Tensor) -> tuple[int, int]:
    """(H/4, W/4) of a (..., H, W) tensor, rounded up."""
    height, width = image.shape[-2:]
    return -(-height // ANSWER_STRIDE), -(-width // ANSWER_STRIDE)


def hint_loss(guess: Tensor, features: Tensor) -> Tensor:
    """Mean squared difference of (B, C, h, w) tensors at the guess's size, linear beyond 1 so that rare peaks don't rule."""
    return F.smooth_l1_loss(guess.float(), F.interpolate(features, guess.shape[-2:], mode="bilinear")) * 2


def distillation_loss(logits: Tensor, expected: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of the student's from the teacher's class probabilities, (B, classes, h, w) logits each."""
    ours, theirs = (each.float().log_softmax(1) for each in (logits, expected))
    return F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1).mean()


def load_teacher(path: Path) -> Teacher:
    """The teacher in a weight file, told by its keys: a backbone of `load_backbone`, a `LiteDeepLab`, or a semantic segmenter of
    the registry (`slim-deeplab-voc21`, `deeplabv3_resnet101` ...).

    Raises:
        ModelError: the file is missing, damaged or holds none of them.
    """
    state = without_auxiliary(read_state(path))
    network = _segmenter(state, path)
    try:
        return Teacher(load_backbone(path) if network is None else network)
    except ModelError:
        raise ModelError(
            f"{path} holds no teacher: give SqueezeNet 1.1, the ADE20K encoder, or a segmenter of the VOC classes"
        ) from None


def _standardised(features: Tensor) -> Tensor:
    return F.batch_norm(features.float(), None, None, training=True)


def _segmenter(state: State, path: Path) -> nn.Module | None:
    found = network_in(state, path)
    if found is not None and not ARCHITECTURES[found[0]].boxes:
        return found[1]
    network = LiteDeepLab(len(VOC))
    if not fits(network, state):
        return None
    load_state(network, state, path=path)
    return network
