"""Attention over a paged cache, in plain torch: the reference, and what runs on CUDA.

Keys of a page are stored `[head_dim, PAGE_TOKENS]` and values `[PAGE_TOKENS, head_dim]`, the
layouts in which the CPU kernel (`native.c`) reads both without a shuffle.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from agentscope_tuner.inference.batch import Batch
from agentscope_tuner.inference.pages import PAGE_TOKENS


class KVCache:
    """Keys `[layers, pages, kv_heads, head_dim, PAGE_TOKENS]` and values with the last two swapped.

    The memory is reserved at once; on a CPU the system only commits the pages that are written.
    Zeros, because a masked score times an uninitialised NaN is NaN.
    """

    def __init__(
        self,
        layers: int,
        pages: int,
        kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (layers, pages, kv_heads)
        self.keys = torch.zeros(*shape, head_dim, PAGE_TOKENS, dtype=dtype, device=device)
        self.values = torch.zeros(*shape, PAGE_TOKENS, head_dim, dtype=dtype, device=device)

    def write(self, layer: int, batch: Batch, k_TKD: Tensor, v_TKD: Tensor) -> None:
        """Store the keys and values of a batch's tokens."""
        page_T, place_T = batch.write_places
        self.keys[layer][page_T, :, :, place_T] = k_TKD
        self.values[layer][page_T, :, place_T] = v_TKD

    def copy_page(self, source: int, target: int) -> None:
        """Copy one page over all layers."""
        self.keys[:, target] = self.keys[:, source]
        self.values[:, target] = self.values[:, source]

    def gather(self, layer: int, pages_BP: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of some sequences, each `[B, kv_heads, P * PAGE_TOKENS, head_dim]`."""
        k_BPKDN = self.keys[layer][pages_BP]
        v_BPKND = self.values[layer][pages_BP]
        return (
            k_BPKDN.permute(0, 2, 1, 4, 3).flatten(2, 3),
            v_BPKND.transpose(1, 2).flatten(2, 3),
        )


def attend(
    q_THD: Tensor, cache: KVCache, layer: int, batch: Batch, window: int | None, scale: float
) -> Tensor:
    """Attention of each token over its sequence up to itself; `[T, heads, head_dim]`.

    The spans of one token are one padded product, each longer span is one of its own.
    """
    out_THD = torch.empty_like(q_THD)
    if batch.singles:
        rows = slice(batch.singles)
        k_BKLD, v_BKLD = cache.gather(layer, batch.pages_SP[rows])
        seen_BL = visible(batch.positions_T[rows], k_BKLD.shape[2], window)
        out_BHLD = F.scaled_dot_product_attention(
            q_THD[rows, :, None],
            k_BKLD,
            v_BKLD,
            seen_BL[:, None, None],
            scale=scale,
            enable_gqa=True,
        )
        out_THD[rows] = out_BHLD[:, :, 0]
    start = batch.singles
    for index in range(batch.singles, len(batch.spans)):
        span = batch.spans[index]
        rows = slice(start, start := start + len(span.tokens))
        k_1KLD, v_1KLD = cache.gather(layer, batch.pages_SP[index : index + 1, : len(span.pages)])
        seen_TL = visible(batch.positions_T[rows], k_1KLD.shape[2], window)
        out_1HTD = F.scaled_dot_product_attention(
            q_THD[rows].transpose(0, 1)[None], k_1KLD, v_1KLD, seen_TL, scale=scale, enable_gqa=True
        )
        out_THD[rows] = out_1HTD[0].transpose(0, 1)
    return out_THD


def visible(positions_T: Tensor, length: int, window: int | None) -> Tensor:
    """Which of `length` positions each token sees, bool `[T, length]`."""
    back_TL = positions_T[:, None] - torch.arange(length, device=positions_T.device)
    seen_TL = back_TL >= 0
    return seen_TL if window is None else seen_TL & (back_TL < window)
