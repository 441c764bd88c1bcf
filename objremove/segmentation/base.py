"""What a segmenter is: pixels and class names in, instances out. What a prompter is: points and boxes in, instances out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

from objremove.instances import Instance
from objremove.types import Pixels


@runtime_checkable
class Segmenter(Protocol):
    """Finds objects by class name.

    Attributes:
        name: the model's name in the registry.
        classes: the class names that it knows, spelled as in `objremove.classes.NAMES`.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102

    def find(self, pixels: Pixels, labels: Collection[str], *, confidence: float | None = None) -> list[Instance]:
        """Every object of the classes `labels` in `pixels`, (H, W, 3) RGB, by falling area.

        `confidence` in 0..1 is the least score; None takes the model's own default. Thread-safe; `pixels` is not written to.
        """
        ...


@runtime_checkable
class SecondLook(Protocol):
    """What a segmenter may do beside `find`: look again for what is said to be there."""

    def look_again(self, pixels: Pixels, labels: Collection[str], *, confidence: float | None = None) -> list[Instance]:
        """What in `pixels` is most likely of the classes `labels`, each of which is there though `find` found nothing sure of it.

        Arguments and answer as those of `Segmenter.find`; objects of two classes may share pixels.
        """
        ...


BOX_LABEL = "box"
"""What a `Prompter` calls an object that it drew of a box: nobody has told it more."""


@runtime_checkable
class Prompter(Protocol):
    """Draws the mask of what a person points at.

    Attributes:
        name: the model's name in the registry.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    def select(
        self,
        pixels: Pixels,
        *,
        points: Sequence[tuple[int, int, bool]] = (),
        boxes: Sequence[tuple[int, int, int, int]] = (),
    ) -> list[Instance]:
        """One instance for all `points` together, (x, y, positive), and one for each box (x0, y0, x1, y1), in photo pixels."""
        ...

    def refine(self, pixels: Pixels, instances: Sequence[Instance]) -> list[Instance]:
        """The same instances in the same order with sharper outlines; one that cannot be improved comes back as it was."""
        ...
