"""Attention in which a token sees its ancestors, at a cost that follows the tree.

The row is cut into tiles of consecutive queries. A tile attends to the keys that any of its queries
can see, which preorder keeps in a few contiguous runs, under a mask of the tile's own; other branches
are never computed. The function is registered with transformers under `NAME`, so every decoder that
routes attention through `ALL_ATTENTION_FUNCTIONS` and passes its keyword arguments down takes it.

Shapes: T tokens of the row, B queries of a tile, K keys it sees, H heads (HK for keys and values),
D dimensions a head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from agentscope_tuner.training.packing import Ints, Pack

NAME = "agentscope_tuner_tree"

TILE = 256
"""Queries of a tile at most: large enough for the kernels, small enough to skip other branches."""


@dataclass(slots=True)
class Tile:
    """Queries `start` to `end` and the keys that they see."""

    start: int
    end: int
    pieces: list[int]
    """Which pieces of the row its keys are."""
    mask_BK: Tensor
    """True where the key is an ancestor of the query, or the query itself."""


@dataclass(slots=True)
class Tiling:
    """All tiles of a row, for one window."""

    tiles: list[Tile]
    piece_sizes: list[int]
    """The row cut wherever a tile's queries or keys begin or end, so that each tile's keys are
    whole pieces and gradients flow back into them without touching the rest of the row."""


@dataclass(slots=True)
class TreeLayout:
    """Who sees whom in a pack; tilings are made once for each sliding window that a model has."""

    position_ids_T: Ints
    subtree_end_T: Ints
    device: torch.device
    _tilings: dict[int | None, Tiling] = field(default_factory=dict)

    @classmethod
    def of(cls, pack: Pack, device: torch.device) -> TreeLayout:
        """The layout of a pack, with masks on this device."""
        return cls(pack.position_ids_T, pack.subtree_end_T, device)

    def tiling(self, window: int | None) -> Tiling:
        """Tiles in which a token sees ancestors fewer than `window` positions before it."""
        if window not in self._tilings:
            self._tilings[window] = self._make_tiling(window)
        return self._tilings[window]

    def _make_tiling(self, window: int | None) -> Tiling:
        length = len(self.position_ids_T)
        bounds = [(start, min(start + TILE, length)) for start in range(0, length, TILE)]
        keys = [self._visible(start, end, window) for start, end in bounds]
        cuts = {0, length}
        for key_ids in keys:
            breaks = np.flatnonzero(np.diff(key_ids) != 1)
            cuts.update(key_ids[breaks] + 1, key_ids[breaks + 1], (key_ids[0], key_ids[-1] + 1))
        edges = np.array(sorted(cuts))
        tiles = []
        for (start, end), key_ids in zip(bounds, keys, strict=True):
            pieces = np.flatnonzero(np.isin(edges[:-1], key_ids)).tolist()
            mask_BK = torch.from_numpy(self._mask(np.arange(start, end), key_ids, window))
            tiles.append(Tile(start, end, pieces, mask_BK.to(self.device)))
        return Tiling(tiles, np.diff(edges).tolist())

    def _visible(self, start: int, end: int, window: int | None) -> Ints:
        """Keys that at least one of these queries sees."""
        key_ids = np.arange(end)
        seen = self.subtree_end_T[:end] > start
        if window is not None:
            seen &= self.position_ids_T[:end] > self.position_ids_T[start:end].min() - window
        return key_ids[seen]

    def _mask(self, query_ids: Ints, key_ids: Ints, window: int | None) -> np.ndarray:
        mask = (key_ids <= query_ids[:, None]) & (query_ids[:, None] < self.subtree_end_T[key_ids])
        if window is not None:
            depth = self.position_ids_T
            mask &= depth[query_ids][:, None] - depth[key_ids] < window
        return mask


def tree_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    tree: TreeLayout,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend: query [1, H, T, D], key and value [1, HK, T, D] -> [1, T, H, D].

    What transformers passes besides (`attention_mask`, dropout) says nothing about a pack.
    """
    tiling = tree.tiling(sliding_window)
    keys = key.split(tiling.piece_sizes, dim=2)
    values = value.split(tiling.piece_sizes, dim=2)
    outputs = [
        scaled_dot_product_attention(
            query_1HBD,
            torch.cat([keys[i] for i in tile.pieces], dim=2),
            torch.cat([values[i] for i in tile.pieces], dim=2),
            attn_mask=tile.mask_BK[None, None],
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for tile, query_1HBD in zip(
            tiling.tiles, query.split([t.end - t.start for t in tiling.tiles], dim=2), strict=True
        )
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


AttentionInterface.register(NAME, tree_attention)
