"""The patch discriminator of pix2pixHD (Wang et al., CVPR 2018, appendix), in the form that LaMa is trained against.

Attribute names and shapes follow the published checkpoints' `discriminator.*` keys.
"""

from __future__ import annotations

from torch import Tensor, nn


class NLayerDiscriminator(nn.Module):
    """(B, 3, H, W) RGB in 0..1 to logits (B, 1, about H / 16, about W / 16), and the features of every level before.

    Six 4x4 convolutions with padding 2, the first four of stride 2; every logit sees 142 pixels. A logit above 0 means real.

    Args:
        ndf: channels of the first level; they double up to 8 times as many.
        n_layers: levels with stride 2.
    """

    def __init__(self, ndf: int = 64, n_layers: int = 4) -> None:
        super().__init__()
        widths = [3, *(min(ndf << level, 512) for level in range(n_layers)), min(ndf << n_layers, 512)]
        self.depth = n_layers + 2
        for level in range(n_layers + 1):
            conv = nn.Conv2d(widths[level], widths[level + 1], 4, stride=2 if level < n_layers else 1, padding=2)
            norm = [nn.BatchNorm2d(widths[level + 1])] if level else []
            # Features are used again for feature matching: nothing is done in place on them.
            self.add_module(f"model{level}", nn.Sequential(conv, *norm, nn.LeakyReLU(0.2)))
        self.add_module(f"model{n_layers + 1}", nn.Sequential(nn.Conv2d(widths[-1], 1, 4, padding=2)))

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits, and the five feature maps after their activation."""
        features = [image]
        for level in range(self.depth):
            features.append(self.get_submodule(f"model{level}")(features[-1]))
        return features[-1], features[1:-1]
