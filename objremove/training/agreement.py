"""What the processes of a run agree on, over a channel of their own: nobody waits for a GPU to hear whether the run is over."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed


class Agreement:
    """Every process must make it, and ask it as often as the others.

    Args:
        processes: how many there are.
    """

    def __init__(self, processes: int) -> None:
        self._group: Any = distributed.new_group(backend="gloo") if processes > 1 else None

    def greatest(self, *values: float) -> list[float]:
        """The greatest of each value over all processes."""
        if self._group is None:
            return list(values)
        shared = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX, group=self._group)
        return list(map(float, shared))
