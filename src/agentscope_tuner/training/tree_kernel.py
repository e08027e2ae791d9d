"""Attention along trees by our own CPU kernel (`kernels/tree.c`), forward and backward.

It computes what `tree_attention` does of plain products, in fp32 and tile by tile in the
processor's caches: scores, which plain products write to memory and read again, are never there.

Shapes: as in `tree_attention`; of keys there may be more than queries, those before the first one.
"""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any

import torch
from torch import Tensor

from agentscope_tuner.inference.kernels import ELEMENTS, compiled, multiplies_at_full_rate
from agentscope_tuner.training.tree_layout import TILE, TileRuns

KEYS = 64
"""Keys of a block, as in the kernel."""


def kernel_for(query: Tensor) -> ctypes.CDLL | None:
    """The kernel's library, where it serves."""
    return _library(query.device.type, query.dtype)


@functools.cache
def _library(device_type: str, dtype: torch.dtype) -> ctypes.CDLL | None:
    serves = device_type == "cpu" and dtype in ELEMENTS and multiplies_at_full_rate()
    return compiled(dtype) if serves else None


class KernelAttention(torch.autograd.Function):
    """Query [T, H, D], key and value [first + T, HK, D], contiguous, fp32 or bf16 -> [T, H, D]."""

    @staticmethod
    def forward(
        ctx: Any,
        query_THD: Tensor,
        key_THD: Tensor,
        value_THD: Tensor,
        runs: TileRuns,
        scale: float,
        library: ctypes.CDLL,
    ) -> Tensor:
        """Attend."""
        query, key, value = query_THD.float(), key_THD.float(), value_THD.float()
        out, norms_TH2 = torch.empty_like(query), query.new_empty(*query.shape[:2], 2)
        parts, scratch = _scratch(query, key)
        library.tree_attend(
            query.data_ptr(),
            key.data_ptr(),
            value.data_ptr(),
            *_pointers(runs),
            out.data_ptr(),
            norms_TH2.data_ptr(),
            scratch.data_ptr(),
            scratch.shape[1],
            parts,
            *_sizes(query, key),
            runs.window or 0,
            runs.first,
            scale,
        )
        out_THD = out.to(query_THD.dtype)
        ctx.save_for_backward(query_THD, key_THD, value_THD, out_THD, norms_TH2)
        ctx.runs, ctx.scale, ctx.library = runs, scale, library
        return out_THD

    @staticmethod
    def backward(ctx: Any, grad_THD: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of query, key and value."""
        dtype = grad_THD.dtype
        query, key, value, out, norms_TH2 = (x.float() for x in ctx.saved_tensors)
        grad, grad_query = grad_THD.float().contiguous(), torch.empty_like(query)
        parts, scratch = _scratch(query, key)
        # Each part adds to a sum of its own.
        grad_key_PTHD = key.new_zeros(parts, *key.shape)
        grad_value_PTHD = key.new_zeros(parts, *key.shape)
        ctx.library.tree_attend_backward(
            query.data_ptr(),
            key.data_ptr(),
            value.data_ptr(),
            out.data_ptr(),
            norms_TH2.data_ptr(),
            grad.data_ptr(),
            *_pointers(ctx.runs),
            grad_query.data_ptr(),
            grad_key_PTHD.data_ptr(),
            grad_value_PTHD.data_ptr(),
            scratch.data_ptr(),
            scratch.shape[1],
            parts,
            len(key),
            *_sizes(query, key),
            ctx.runs.window or 0,
            ctx.runs.first,
            ctx.scale,
        )
        grads = grad_query, grad_key_PTHD.sum(0), grad_value_PTHD.sum(0)
        return *(x.to(dtype) for x in grads), None, None, None


def _pointers(runs: TileRuns) -> tuple[int, ...]:
    return (
        runs.tiles_n4.data_ptr(),
        len(runs.tiles_n4),
        runs.runs_m2.data_ptr(),
        runs.subtree_end_T.data_ptr(),
        runs.position_ids_T.data_ptr(),
    )


def _sizes(query_THD: Tensor, key_THD: Tensor) -> tuple[int, int, int]:
    return query_THD.shape[1], key_THD.shape[1], query_THD.shape[2]


def _scratch(query_THD: Tensor, key_THD: Tensor) -> tuple[int, Tensor]:
    """In how many parts each key head's tiles are computed, such that all threads have as many, and
    scratch for each part: what `back_through_tile` cuts off it."""
    heads, key_heads, size = _sizes(query_THD, key_THD)
    threads = torch.get_num_threads()
    parts = threads // math.gcd(threads, key_heads)
    rows, width = heads // key_heads * TILE, -(-size // 16) * 16
    floats = 3 * rows * width + 2 * rows * KEYS + 3 * KEYS * width + 3 * rows
    return parts, query_THD.new_empty(key_heads * parts, floats)
