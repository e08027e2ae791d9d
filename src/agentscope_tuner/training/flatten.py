"""A token tree laid out as one row.

Tokens that no trained token follows are left out: nothing is predicted from them. Among these are
the last token of every branch and whatever came back from a tool after the last call.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentscope_tuner.inference.base import Support
from agentscope_tuner.penalties import LogitChange, Penalties, TokenHistory
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.tree import Node, TokenTree


def flatten(tree: TokenTree) -> Pack:
    """The tree as a pack."""
    row = _Row(tree)
    return Pack(
        token_ids_T=np.array(row.token_ids, np.int64),
        position_ids_T=np.array(row.positions, np.int64),
        subtree_end_T=np.array(row.subtree_ends, np.int64),
        predecessors_N=np.array(row.predecessors, np.int64),
        targets_N=np.array(row.targets, np.int64),
        rows_N=np.array(row.rows, np.int64),
        temperatures_N=np.array(row.temperatures, np.float32),
        supports=row.supports,
        changes=row.changes,
    )


class _Row:
    """The columns of a pack."""

    def __init__(self, tree: TokenTree) -> None:
        self.token_ids: list[int] = []
        self.positions: list[int] = []
        self.subtree_ends: list[int] = []
        self.predecessors: list[int] = []
        self.targets: list[int] = []
        self.rows: list[int] = []
        self.temperatures: list[float] = []
        self.supports: dict[int, Support] = {}
        self.changes: dict[int, LogitChange] = {}
        self._fill(tree)

    def _fill(self, tree: TokenTree) -> None:
        """Note the tree's tokens, and what is trained on them."""
        nodes = list(tree.preorder())
        kept = _kept(nodes)
        ends: dict[Node, int] = {}
        last: dict[Node | None, int] = {tree.root: -1}
        """Index of the last token at or above a node; -1: none."""
        for node in nodes:
            before, start = last[node.parent], len(self.token_ids)
            depth = self.positions[before] + 1 if before >= 0 else 0
            self.token_ids.extend(node.token_ids[: kept[node]])
            self.positions.extend(range(depth, depth + kept[node]))
            ends[node] = len(self.token_ids)
            last[node] = ends[node] - 1 if kept[node] else before
            self._train(node, start, before)
        for node in reversed(nodes):
            if node.parent in ends:
                ends[node.parent] = max(ends[node.parent], ends[node])
        for node in nodes:
            self.subtree_ends.extend([ends[node]] * kept[node])

    def _train(self, node: Node, start: int, before: int) -> None:
        """Note a node's trained tokens; its tokens begin at `start` and follow token `before`."""
        if node.span is None:
            return
        sampled = node.span.sampled
        changes = _changes(node, sampled.penalties) if sampled.penalties else ()
        for row, i in enumerate(node.span.trained.tolist(), start=node.span.start):
            predecessor = start + i - 1 if i else before
            assert predecessor >= 0, "the first token of a text is predicted from nothing"
            if changes:
                self.changes[len(self.targets)] = changes[i]
            if i in sampled.supports:
                self.supports[len(self.targets)] = sampled.supports[i]
            self.predecessors.append(predecessor)
            self.targets.append(node.token_ids[i])
            self.rows.append(row)
            self.temperatures.append(sampled.temperature)


def _changes(node: Node, penalties: Penalties) -> list[LogitChange]:
    """What penalties did to the logits of each of a sampled node's tokens."""
    above: list[Sequence[int]] = []
    parent = node.parent
    while parent is not None:
        above.append(parent.token_ids)
        parent = parent.parent
    history = TokenHistory(penalties, (token for ids in reversed(above) for token in ids))
    changes = []
    for token in node.token_ids:
        changes.append(history.change())
        history.push(token)
    return changes


def _kept(nodes: Sequence[Node]) -> dict[Node, int]:
    """How many of each node's first tokens something trained follows; nodes are in preorder."""
    followed: set[Node] = set()
    kept: dict[Node, int] = {}
    for node in reversed(nodes):
        trained = [] if node.span is None else node.span.trained.tolist()
        if node in followed:
            kept[node] = len(node.token_ids)
        else:
            kept[node] = trained[-1] if trained else 0
        if node.parent is not None and (node in followed or trained):
            followed.add(node.parent)
    return kept
