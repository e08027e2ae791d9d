"""Attention in which a token sees its ancestors, forward and backward.

Our own kernel where it serves (`tree_kernel`), else plain batched matrix products over the tiles of
a `TreeLayout`. Probabilities are computed again in
the backward pass, so nothing of the size of queries times keys is kept. The function is registered
with transformers under `NAME`: every decoder that routes its attention through
`ALL_ATTENTION_FUNCTIONS` and passes its keyword arguments down takes it.

Shapes: T tokens of the row, n tiles of B queries and K keys, H heads, of which HK for keys and
values with G = H / HK query heads each, D dimensions a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from agentscope_tuner.training.shared_prefix import Prefix
from agentscope_tuner.training.tree_kernel import KernelAttention, kernel_for
from agentscope_tuner.training.tree_layout import TileBatch, TreeLayout

NAME = "agentscope_tuner_tree"


def tree_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    tree: TreeLayout,
    scaling: float,
    sliding_window: int | None = None,
    prefix: Prefix | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend: query [1, H, T, D], key and value [1, HK, T, D] -> [1, T, H, D].

    `prefix` has keys and values of the tokens before the layout's first query. What transformers
    passes besides (`attention_mask`, dropout) says nothing about a pack.
    """
    if prefix is not None:
        layer: Any = module.layer_idx
        key, value = prefix.joined(layer, key, value)
    rows = [x[0].transpose(0, 1).contiguous() for x in (query, key, value)]
    out_THD: Tensor
    if (library := kernel_for(query)) is not None:
        out_THD = KernelAttention.apply(*rows, tree.runs(sliding_window), scaling, library)
    else:
        out_THD = PlainAttention.apply(*rows, tree.batches(sliding_window), scaling)
    return out_THD[None], None


class PlainAttention(torch.autograd.Function):
    """Query [T, H, D], key and value [first + T, HK, D] -> [T, H, D]."""

    @staticmethod
    def forward(
        ctx: Any,
        query_THD: Tensor,
        key_THD: Tensor,
        value_THD: Tensor,
        batches: list[TileBatch],
        scale: float,
    ) -> Tensor:
        """Attend."""
        out_THD = torch.empty_like(query_THD)
        for batch in batches:
            tiles = _Tiles(batch, query_THD, key_THD, value_THD)
            tiles.put_queries(out_THD, tiles.probabilities(scale) @ tiles.value_bKD)
        ctx.save_for_backward(query_THD, key_THD, value_THD)
        ctx.batches, ctx.scale = batches, scale
        return out_THD

    @staticmethod
    def backward(ctx: Any, grad_THD: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """The gradients of query, key and value."""
        query_THD, key_THD, value_THD = ctx.saved_tensors
        grad_query_THD = torch.empty_like(query_THD)
        # A key's gradient comes from many tiles: added up in float32.
        grad_key_THD = torch.zeros_like(key_THD, dtype=torch.float32)
        grad_value_THD = torch.zeros_like(value_THD, dtype=torch.float32)
        grad_THD = grad_THD.contiguous()
        for batch in ctx.batches:
            tiles = _Tiles(batch, query_THD, key_THD, value_THD)
            p_bqK = tiles.probabilities(ctx.scale)
            grad_bqD = tiles.take_queries(grad_THD)
            tiles.add_keys(grad_value_THD, p_bqK.transpose(1, 2) @ grad_bqD)
            grad_p_bqK = grad_bqD @ tiles.value_bKD.transpose(1, 2)
            grad_s_bqK = torch._softmax_backward_data(grad_p_bqK, p_bqK, -1, p_bqK.dtype)
            grad_s_bqK *= ctx.scale
            tiles.put_queries(grad_query_THD, grad_s_bqK @ tiles.key_bKD)
            tiles.add_keys(grad_key_THD, grad_s_bqK.transpose(1, 2) @ tiles.query_bqD)
        return (
            grad_query_THD,
            grad_key_THD.to(key_THD.dtype),
            grad_value_THD.to(value_THD.dtype),
            None,
            None,
        )


class _Tiles:
    """A batch's queries, keys and values as operands: b = n HK products of q = G B queries."""

    def __init__(
        self, batch: TileBatch, query_THD: Tensor, key_THD: Tensor, value_THD: Tensor
    ) -> None:
        self.batch = batch
        self.heads, self.key_heads = query_THD.shape[1], key_THD.shape[1]
        tiles = len(batch.queries_nB)
        device = query_THD.device
        heads_1H = torch.arange(self.heads, device=device)
        by_head = batch.queries_nB[:, None, :] * self.heads + heads_1H[:, None]
        self._query_rows = by_head.flatten()
        key_heads = heads_1H[: self.key_heads]
        self._key_rows = (batch.keys_nK[:, None, :] * self.key_heads + key_heads[:, None]).flatten()
        self._products = tiles * self.key_heads
        self.query_bqD = self.take_queries(query_THD)
        self.key_bKD = self._take_keys(key_THD)
        self.value_bKD = self._take_keys(value_THD)

    def take_queries(self, x_THD: Tensor) -> Tensor:
        """The batch's query rows of x, [b, q, D]."""
        rows = x_THD.flatten(0, 1).index_select(0, self._query_rows)
        return rows.view(self._products, -1, x_THD.shape[-1])

    def put_queries(self, out_THD: Tensor, x_bqD: Tensor) -> None:
        """Write what `take_queries` would take."""
        out_THD.view(-1, out_THD.shape[-1]).index_copy_(0, self._query_rows, x_bqD.flatten(0, 1))

    def probabilities(self, scale: float) -> Tensor:
        """softmax(scale * query @ key.T) over the keys that each query sees, [b, q, K]."""
        n, queries, keys = self.batch.hidden_nBK.shape
        bias_nBK = torch.zeros_like(self.batch.hidden_nBK, dtype=self.query_bqD.dtype)
        bias_nBK.masked_fill_(self.batch.hidden_nBK, -torch.inf)
        # Every head writes to a place of its own: a reshape of the expanded bias need not copy.
        scores_nHBK = bias_nBK.new_empty(n, self.heads, queries, keys).copy_(bias_nBK[:, None])
        scores_bqK = scores_nHBK.view(self._products, -1, keys)
        scores_bqK.baddbmm_(self.query_bqD, self.key_bKD.transpose(1, 2), alpha=scale)
        return torch.softmax(scores_bqK, dim=-1)

    def add_keys(self, out_THD: Tensor, x_bKD: Tensor) -> None:
        """Add what is known of each tile's keys to the row's."""
        # Converted at once: adding another dtype would convert every run by itself.
        x_nHKD = x_bKD.to(out_THD.dtype).view(-1, self.key_heads, *x_bKD.shape[1:])
        for run in self.batch.runs:
            part_HKD = x_nHKD[run.tile, :, run.at : run.at + run.end - run.start]
            out_THD[run.start : run.end] += part_HKD.transpose(0, 1)

    def _take_keys(self, x_THD: Tensor) -> Tensor:
        rows = x_THD.flatten(0, 1).index_select(0, self._key_rows)
        return rows.view(self._products, -1, x_THD.shape[-1])


AttentionInterface.register(NAME, tree_attention)
