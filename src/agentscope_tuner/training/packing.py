"""Rollouts as rows of tokens that a model can compute at once.

A pack holds the joined token trees of some rollouts in preorder: every token after its ancestors,
each subtree in one piece. Two numbers a token then say everything about the tree: its depth (which is
its position in the text) and where its subtree ends. Token k is an ancestor of token q, or q itself,
exactly if k <= q < subtree_end[k].

Shapes: T tokens of a pack, N of them trained. A token's log-probability comes from the hidden state
at its predecessor in the tree, which is not always the token before it in the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentscope_tuner.inference.base import Support
from agentscope_tuner.training.tree import TokenTree
from agentscope_tuner.trajectory import Rollout, RolloutGroup

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(slots=True)
class Pack:
    """One row of T tokens, N of them trained."""

    token_ids_T: Ints
    position_ids_T: Ints
    """Depth in the tree: the token's position on its own branch."""
    subtree_end_T: Ints
    """Index after the last descendant."""
    predecessors_N: Ints
    """Index in the row of the token before each trained one on its branch."""
    targets_N: Ints
    """The trained tokens' ids."""
    old_logprobs_N: Floats
    """As recorded by the sampler."""
    advantages_N: Floats
    temperatures_N: Floats
    supports: dict[int, Support]
    """Index in N -> the tokens that could have been drawn; absent: the whole vocabulary."""
    origins_N3: Ints
    """Number of the rollout, segment, and index in the segment of each trained token."""


def trained(sampled_forced: bool, temperature: float) -> bool:
    """Whether a sampled token has anything to learn: it was one of several that could be drawn."""
    return not sampled_forced and temperature > 0


def trained_tokens(rollout: Rollout) -> int:
    """How many of a rollout's tokens carry a loss."""
    return sum(
        trained(forced, segment.sampled.temperature)
        for segment in rollout.trajectory.segments
        if segment.sampled is not None
        for forced in segment.sampled.forced
    )


def pack_groups(
    groups: Iterable[RolloutGroup], max_tokens: int, *, skip_zero_advantage: bool = False
) -> list[Pack]:
    """Pack the rollouts that have an advantage, in order, at most `max_tokens` tokens a pack.

    `skip_zero_advantage` leaves those out whose advantage is 0: without a further term in the loss
    they have no gradient. Rollouts are numbered through all groups, left-out ones included. Those of one
    group share their prompt within a pack. One that is longer than `max_tokens` gets a pack of its
    own: it cannot be cut without losing context.
    """
    packs: list[Pack] = []
    row: list[_Bundle] = []
    for bundle in _bundles(groups, max_tokens, skip_zero_advantage):
        if row and sum(b.tree.size for b in row) + bundle.tree.size > max_tokens:
            packs.append(_flatten(row))
            row = []
        row.append(bundle)
    if row:
        packs.append(_flatten(row))
    return packs


@dataclass(slots=True)
class _Bundle:
    """Rollouts of one group that go into one pack."""

    tree: TokenTree
    advantages: dict[int, float]


def _bundles(
    groups: Iterable[RolloutGroup], max_tokens: int, skip_zero_advantage: bool
) -> Iterator[_Bundle]:
    number = 0
    for group in groups:
        numbered = [
            (number + i, rollout)
            for i, rollout in enumerate(group.rollouts)
            if rollout.advantage is not None
            and not (skip_zero_advantage and rollout.advantage == 0)
            and trained_tokens(rollout)
        ]
        number += len(group.rollouts)
        whole = _bundle(numbered)
        if whole.tree.size <= max_tokens:
            if numbered:
                yield whole
            continue
        together: list[tuple[int, Rollout]] = []
        for entry in numbered:
            if together and _bundle([*together, entry]).tree.size > max_tokens:
                yield _bundle(together)
                together = []
            together.append(entry)
        yield _bundle(together)


def _bundle(numbered: Sequence[tuple[int, Rollout]]) -> _Bundle:
    tree = TokenTree()
    for number, rollout in numbered:
        tree.add(rollout.trajectory, number)
    return _Bundle(tree, {number: rollout.advantage or 0.0 for number, rollout in numbered})


def _flatten(bundles: Sequence[_Bundle]) -> Pack:
    token_ids: list[int] = []
    positions: list[int] = []
    ends: list[int] = []
    predecessors: list[int] = []
    targets: list[int] = []
    old_logprobs: list[float] = []
    advantages: list[float] = []
    temperatures: list[float] = []
    supports: dict[int, Support] = {}
    origins: list[tuple[int, int, int]] = []

    for bundle in bundles:
        nodes = list(bundle.tree.preorder())
        starts: dict[int, int] = {}
        last: dict[int, int] = {id(bundle.tree.root): -1}
        """Index of the last token at or above a node; -1: none."""
        for node in nodes:
            assert node.parent is not None
            start = len(token_ids)
            before = last[id(node.parent)]
            depth = positions[before] + 1 if before >= 0 else 0
            length = len(node.token_ids)
            token_ids.extend(node.token_ids)
            positions.extend(range(depth, depth + length))
            starts[id(node)] = start
            last[id(node)] = start + length - 1 if length else before
            if node.sampled is None:
                continue
            sampled = node.sampled
            for i, token in enumerate(node.token_ids):
                predecessor = start + i - 1 if i else before
                if predecessor < 0 or not trained(sampled.forced[i], sampled.temperature):
                    continue
                if i in sampled.supports:
                    supports[len(targets)] = sampled.supports[i]
                predecessors.append(predecessor)
                targets.append(token)
                old_logprobs.append(sampled.logprobs[i])
                advantages.append(bundle.advantages[node.origin[0]])
                temperatures.append(sampled.temperature)
                origins.append((*node.origin, i))
        ends.extend(_subtree_ends(nodes, starts))

    return Pack(
        token_ids_T=np.array(token_ids, np.int64),
        position_ids_T=np.array(positions, np.int64),
        subtree_end_T=np.array(ends, np.int64),
        predecessors_N=np.array(predecessors, np.int64),
        targets_N=np.array(targets, np.int64),
        old_logprobs_N=np.array(old_logprobs, np.float32),
        advantages_N=np.array(advantages, np.float32),
        temperatures_N=np.array(temperatures, np.float32),
        supports=supports,
        origins_N3=np.array(origins, np.int64).reshape(-1, 3),
    )


def _subtree_ends(nodes: Sequence, starts: dict[int, int]) -> list[int]:
    """For every token of the nodes, in order, where its subtree ends."""
    end_of: dict[int, int] = {}
    for node in reversed(nodes):
        own = starts[id(node)] + len(node.token_ids)
        end_of[id(node)] = max([own, *(end_of[id(child)] for child in node.children)])
    return [end_of[id(node)] for node in nodes for _ in node.token_ids]
