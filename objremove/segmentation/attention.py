"""Self-attention with decomposed relative positions (SAM's image encoder) in bounded memory.

The four global blocks of the encoder attend from each of 64x64 positions to all others; written out, that is three copies of
a (heads, 4096, 4096) array: 2.3 GB for ViT-B. Here queries are handled a few rows at a time; the result is the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CHUNK_ROWS = 4  # rows of 64 queries: 12 heads x 256 x 4096 floats are 50 MB


class ChunkedAttention(nn.Module):
    """Takes the place of a `segment_anything` encoder `Attention` and shares its parameters. (B, H, W, C) to (B, H, W, C)."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        self.qkv: nn.Linear = attention.qkv
        self.proj: nn.Linear = attention.proj
        self.rel_pos_h: nn.Parameter = attention.rel_pos_h
        self.rel_pos_w: nn.Parameter = attention.rel_pos_w

    def forward(self, tokens: Tensor) -> Tensor:
        """Attention of every position to every other, `_CHUNK_ROWS` rows of queries at a time."""
        batch, height, width, channels = tokens.shape
        query, key, value = (
            self.qkv(tokens).reshape(batch, height * width, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        )
        rows = _offsets(self.rel_pos_h, height)
        columns = _offsets(self.rel_pos_w, width)
        answer = torch.empty_like(query)
        for top in range(0, height, _CHUNK_ROWS):
            bottom = min(top + _CHUNK_ROWS, height)
            part = query[:, :, top * width : bottom * width]
            grid = part.reshape(batch, self.heads, bottom - top, width, -1)
            by_row = torch.einsum("bnhwc,hkc->bnhwk", grid, rows[top:bottom])
            by_column = torch.einsum("bnhwc,wkc->bnhwk", grid, columns)
            bias = (by_row[..., :, None] + by_column[..., None, :]).reshape(*part.shape[:3], height * width)
            answer[:, :, top * width : bottom * width] = F.scaled_dot_product_attention(
                part, key, value, attn_mask=bias
            )
        answer = answer.reshape(batch, self.heads, height, width, -1).permute(0, 2, 3, 1, 4)
        mixed: Tensor = self.proj(answer.reshape(batch, height, width, channels))
        return mixed


def _offsets(table: Tensor, length: int) -> Tensor:
    """(length, length, C): the embedding of `query - key` for every pair; `table` holds -(length - 1) to length - 1."""
    position = torch.arange(length, device=table.device)
    return table[position[:, None] - position[None, :] + length - 1]


def bound_attention_memory(encoder: Any) -> None:
    """Put `ChunkedAttention` into the global blocks of a SAM image encoder, in place."""
    for block in encoder.blocks:
        if block.window_size == 0:
            block.attn = ChunkedAttention(block.attn)
