"""Keys and values in pages.

A page's values are stored `[PAGE_TOKENS, head_dim]`, its keys `[head_dim / W, PAGE_TOKENS, W]` with
the W elements that four bytes hold side by side: so the CPU kernel (`native.c`) reads both without
a shuffle.
"""

from __future__ import annotations

import math
import mmap

import torch
from torch import Tensor

from agentscope_tuner.inference.batch import Batch
from agentscope_tuner.inference.pages import PAGE_TOKENS


class KVCache:
    """Keys `[layers, pages, kv_heads, head_dim / W, PAGE_TOKENS, W]`, values `[layers, pages,
    kv_heads, PAGE_TOKENS, head_dim]`.

    The memory is reserved at once; on a CPU the system only commits what is written to.
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
        shape, pack = (layers, pages, kv_heads), 4 // dtype.itemsize
        key_shape = (*shape, head_dim // pack, PAGE_TOKENS, pack)
        self.keys = zeros(key_shape, dtype, device)
        self.values = zeros((*shape, PAGE_TOKENS, head_dim), dtype, device)

    def write(self, layer: int, batch: Batch, k_TKD: Tensor, v_TKD: Tensor) -> None:
        """Store the keys and values of a batch's tokens."""
        page_T, place_T = batch.write_places
        pack = self.keys.shape[-1]
        self.keys[layer][page_T, :, :, place_T] = k_TKD.unflatten(-1, (-1, pack))
        self.values[layer][page_T, :, place_T] = v_TKD

    def copy_page(self, source: int, target: int) -> None:
        """Copy one page over all layers."""
        self.keys[:, target] = self.keys[:, source]
        self.values[:, target] = self.values[:, source]

    def release(self) -> None:
        """Give the memory back."""
        del self.keys, self.values

    def gather(self, layer: int, pages_BP: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of some sequences, each `[B, kv_heads, P * PAGE_TOKENS, head_dim]`."""
        k_BPKDNW = self.keys[layer][pages_BP]
        v_BPKND = self.values[layer][pages_BP]
        k_BKPNDW = k_BPKDNW.permute(0, 2, 1, 4, 3, 5)
        return k_BKPNDW.flatten(4, 5).flatten(2, 3), v_BPKND.transpose(1, 2).flatten(2, 3)


def zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, as a masked score times an uninitialised NaN is NaN; a CPU's take no memory yet.

    `torch.zeros` writes them; what is mapped afresh is zero without that.
    """
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    mapped = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        mapped.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(mapped, dtype=dtype).view(shape)
