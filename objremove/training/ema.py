"""The exponential moving average of a network's weights: what previews show, what is scored and what is exported."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class Ema(Generic[Network]):
    """A frozen copy of a network, in eval mode, whose weights and BatchNorm statistics follow those of the network.

    Args:
        network: the one that is trained.
        decay: share of the average that a step keeps; young averages keep (1 + n) / (10 + n), so that the start is soon forgotten.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards `network` after its step number `step` (from 0)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        mine, theirs = self.network.state_dict(), network.state_dict()
        floating = [key for key, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[key] for key in floating], [theirs[key] for key in floating], 1 - decay)
        for key in mine.keys() - set(floating):
            mine[key].copy_(theirs[key])
