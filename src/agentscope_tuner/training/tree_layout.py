"""Who sees whom in a pack, cut into tiles.

The row is cut into tiles of consecutive queries. A tile takes the keys that any of its queries can
see, which preorder keeps in a few contiguous runs, under a mask of its own; other branches are
never computed, so the cost follows the tree and not the square of the row. Our own kernel takes
tiles by their runs; for plain matrix products they are gathered to batches of equal shape.

Shapes: T tokens of the row; a batch has n tiles of B queries and K keys each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentscope_tuner.training.pack import Ints

TILE = 64
"""Queries of a tile: enough for an efficient product, few enough to skip other branches."""

LEAST = 16
"""Queries of a tile at least, before it ends where its branch does."""

KEY_STEP = 32
"""Keys are filled up to a multiple of this, so that tiles of similar length share a batch."""

BATCH_PAIRS = {"cpu": 2**16, "cuda": 2**22}
"""Query-key pairs of a batch at most: on a CPU its scores are to stay in the cache."""


@dataclass(slots=True)
class Run:
    """Keys `start` to `end` of the row, which are keys `at` and on of tile `tile` in its batch."""

    tile: int
    at: int
    start: int
    end: int


@dataclass(slots=True)
class TileBatch:
    """Tiles of one shape."""

    queries_nB: Tensor
    """Numbers of queries, from the layout's first one on."""
    keys_nK: Tensor
    """Indices in the row; where a tile has fewer keys, the first repeats and is masked."""
    hidden_nBK: Tensor
    """True where the query must not see the key."""
    runs: list[Run]


@dataclass(slots=True)
class TileRuns:
    """All tiles, on the CPU: n of them with m runs of keys."""

    tiles_n4: Tensor
    """First query, number of queries, first of its runs, number of runs."""
    runs_m2: Tensor
    """First key and the one behind the last."""
    subtree_end_T: Tensor
    position_ids_T: Tensor
    window: int | None
    first: int
    """The row's first query: before it are keys and values alone."""


@dataclass(slots=True)
class TreeLayout:
    """The tiles of a pack, made once for each sliding window that the model's layers have."""

    position_ids_T: Ints
    subtree_end_T: Ints
    device: torch.device
    first: int = 0
    """The first query: those before are keys and values alone."""
    _batches: dict[int | None, list[TileBatch]] = field(default_factory=dict)
    _runs: dict[int | None, TileRuns] = field(default_factory=dict)

    def batches(self, window: int | None = None) -> list[TileBatch]:
        """Batches in which a token sees its ancestors fewer than `window` positions before it."""
        if window not in self._batches:
            self._batches[window] = self._make_batches(window)
        return self._batches[window]

    def runs(self, window: int | None = None) -> TileRuns:
        """The same as runs of keys."""
        if window not in self._runs:
            tiles: list[tuple[int, int, int, int]] = []
            runs: list[tuple[int, int]] = []
            for queries_B, keys in self._tiles(window):
                found = _runs(len(tiles), keys)
                tiles.append((int(queries_B[0]), len(queries_B), len(runs), len(found)))
                runs.extend((run.start, run.end) for run in found)
            self._runs[window] = TileRuns(
                tiles_n4=torch.tensor(tiles),
                runs_m2=torch.tensor(runs),
                subtree_end_T=torch.from_numpy(np.ascontiguousarray(self.subtree_end_T)),
                position_ids_T=torch.from_numpy(np.ascontiguousarray(self.position_ids_T)),
                window=window,
                first=self.first,
            )
        return self._runs[window]

    def _tiles(self, window: int | None) -> Iterator[tuple[Ints, Ints]]:
        """Each tile's queries and keys."""
        depth_T = self.position_ids_T
        branches = np.flatnonzero(np.diff(depth_T) != 1) + 1
        start = self.first
        while start < len(depth_T):
            end = min(start + TILE, len(depth_T))
            # Another branch's queries see other keys.
            if len(at := branches[np.searchsorted(branches, start + LEAST) :]):
                end = min(end, int(at[0]))
            queries_B = np.arange(start, end)
            yield queries_B, self._visible(queries_B, window)
            start = end

    def _make_batches(self, window: int | None) -> list[TileBatch]:
        by_shape: dict[tuple[int, int], list[tuple[Ints, Ints]]] = defaultdict(list)
        for queries_B, keys in self._tiles(window):
            keys_filled = -(-len(keys) // KEY_STEP) * KEY_STEP
            by_shape[len(queries_B), keys_filled].append((queries_B, keys))
        batches = []
        for (n_queries, n_keys), tiles in by_shape.items():
            step = max(1, BATCH_PAIRS[self.device.type] // (n_queries * n_keys))
            for at in range(0, len(tiles), step):
                batches.append(self._batch(tiles[at : at + step], n_keys, window))
        return batches

    def _visible(self, queries_B: Ints, window: int | None) -> Ints:
        """Keys that at least one of these queries sees."""
        end = queries_B[-1] + 1
        seen = self.subtree_end_T[:end] > queries_B[0]
        if window is not None:
            seen &= self.position_ids_T[:end] > self.position_ids_T[queries_B].min() - window
        return np.flatnonzero(seen)

    def _batch(self, tiles: list[tuple[Ints, Ints]], size: int, window: int | None) -> TileBatch:
        queries_nB = np.stack([queries_B for queries_B, _ in tiles])
        keys_nK = np.stack([np.pad(k, (0, size - len(k)), constant_values=k[0]) for _, k in tiles])
        counts_n = np.array([len(keys) for _, keys in tiles])
        queries_nB1, keys_n1K = queries_nB[:, :, None], keys_nK[:, None, :]
        seen_nBK = (keys_n1K <= queries_nB1) & (queries_nB1 < self.subtree_end_T[keys_n1K])
        seen_nBK &= np.arange(size) < counts_n[:, None, None]
        if window is not None:
            depth_T = self.position_ids_T
            seen_nBK &= depth_T[queries_nB1] - depth_T[keys_n1K] < window
        return TileBatch(
            queries_nB=torch.from_numpy(queries_nB - self.first).to(self.device),
            keys_nK=torch.from_numpy(keys_nK).to(self.device),
            hidden_nBK=torch.from_numpy(~seen_nBK).to(self.device),
            runs=[run for tile, (_, keys) in enumerate(tiles) for run in _runs(tile, keys)],
        )


def _runs(tile: int, keys: NDArray[np.int64]) -> list[Run]:
    """The contiguous runs of sorted keys."""
    starts = np.flatnonzero(np.diff(keys, prepend=-2) != 1)
    ends = np.append(starts[1:], len(keys))
    return [
        Run(tile, int(at), int(keys[at]), int(keys[end - 1]) + 1)
        for at, end in zip(starts, ends, strict=True)
    ]
