"""What an inpainter is: equal windows and their holes in, filled windows out."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from objremove.types import WindowHoles, Windows


@runtime_checkable
class Inpainter(Protocol):
    """Fills holes in windows (crops) of a photo. It sees nothing of files, classes or scales: `windows.py` brings it what fits.

    Attributes:
        name: the model's name in the registry.
        modulo: window sides are multiples of this, but where the photo itself is smaller than the window: those the inpainter has to pad.
        hole_width: widest hole in pixels that it fills well; wider ones are brought to it at reduced scale.
        sharp_width: widest hole in pixels whose texture it draws well, too; of wider ones only the structures are taken from it, and the
            texture from the photo around.
        hole_area: most hole pixels of one part that it fills well, or in bearable time; larger ones likewise.
        window_side: longest window side in pixels that it should be given.
        batch_size: how many equal windows to hand over at once.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def modulo(self) -> int: ...  # noqa: D102

    @property
    def hole_width(self) -> int: ...  # noqa: D102

    @property
    def sharp_width(self) -> int: ...  # noqa: D102

    @property
    def hole_area(self) -> int: ...  # noqa: D102

    @property
    def window_side(self) -> int: ...  # noqa: D102

    @property
    def batch_size(self) -> int: ...  # noqa: D102

    def fill(self, windows: Windows, holes: WindowHoles) -> Windows:
        """(B, H, W, 3) float32 RGB in 0..1 and (B, H, W) bool, True = fill; returns the same shape in 0..1.

        What lies outside the holes in the answer is ignored. Every window has known pixels. Thread-safe; nothing given is written to.
        """
        ...
