"""LaMa as an `Inpainter`: windows and holes in, filled windows out."""

from __future__ import annotations

import os

import numpy as np
import torch

from objremove.errors import ModelError
from objremove.inpainting.lama.checkpoint import load_generator
from objremove.inpainting.lama.folding import fold
from objremove.inpainting.lama.generator import Generator
from objremove.types import WindowHoles, Windows

_CHANNELS = (4, 3)  # in: red, green, blue and the mask; out: the colours
_SMALLEST_SIDE = 16  # the trunk pads its maps (an eighth of the window) by reflection, which takes two pixels


class LamaInpainter:
    """Fills holes with a LaMa generator in its inference form. Thread-safe: nothing changes after construction.

    Attributes:
        name: the model's name in the registry.
        modulo: window sides should be multiples of this; others are padded here (bottom and right, mirrored) and cropped back.
        hole_width: as the generator's configuration says; so `sharp_width`.
        hole_area: most hole pixels of one part; a quarter of the largest window, so that context outweighs the hole.
        window_side: longest window side in pixels that it should be given.
        batch_size: how many equal windows to hand over at once. One on a CPU, where more are no faster, and one where textures are
            chosen after the fill: a batch rounds differently, and a choice can turn on that.
    """

    hole_area = 512 * 512
    window_side = 1024

    def __init__(
        self,
        generator: Generator | str | os.PathLike[str],
        *,
        name: str,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Fold a generator in eval mode, or the one in a weight file or official model folder.

        Raises:
            ModelError: the weight file is missing, damaged or no LaMa generator.
        """
        if isinstance(generator, (str, os.PathLike)):
            generator = load_generator(generator)
        if (generator.config.input_nc, generator.config.output_nc) != _CHANNELS:
            raise ModelError(
                f"{name} takes {generator.config.input_nc} channels and gives {generator.config.output_nc}: a LaMa takes red, green, "
                "blue and the mask, and gives three; choose another weight file"
            )
        self.name = name
        self.modulo = generator.config.modulo
        self.hole_width, self.sharp_width = generator.config.hole_width, generator.config.sharp_width
        chooses = self.sharp_width < self.hole_width
        self.batch_size = 1 if chooses or device.type == "cpu" else 4
        self._device = device
        self._network = fold(generator, dtype=dtype, device=device)

    @torch.inference_mode()
    def fill(self, windows: Windows, holes: WindowHoles) -> Windows:
        """(B, H, W, 3) float32 RGB in 0..1 and (B, H, W) bool, True = fill; returns the prediction everywhere, in 0..1.

        Raises:
            ModelError: the network's answer is not finite.
        """
        height, width = holes.shape[1:]
        padding = ((0, 0), (0, self._missing(height)), (0, self._missing(width)))
        hole = np.pad(holes, padding, mode="symmetric")[..., None].astype(np.float32)
        pixels = np.pad(windows, (*padding, (0, 0)), mode="symmetric")
        stacked = np.concatenate((pixels * (1 - hole), hole), axis=-1, dtype=np.float32)
        predicted = self._network(torch.from_numpy(stacked).permute(0, 3, 1, 2).to(self._device))
        if not bool(predicted.isfinite().all()):
            raise ModelError(
                f"{self.name} gave values that are not finite: fetch its weights again, or take --precision fp32"
            )
        predicted = predicted[:, :, :height, :width].clamp(0, 1).permute(0, 2, 3, 1)
        filled: Windows = predicted.contiguous().cpu().numpy()
        return filled

    def _missing(self, side: int) -> int:
        return max(side + -side % self.modulo, _SMALLEST_SIDE) - side
