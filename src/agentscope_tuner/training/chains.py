"""Rollouts as plain sequences, for a learner that knows no trees.

Each branch of a rollout's tree becomes a sequence of its own; what branches share is computed once
in each of them, and learnt from in the first.
"""

from __future__ import annotations

from collections.abc import Iterator

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.spans import Span
from agentscope_tuner.training.flatten import flatten
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.tree import Node, TokenTree


def chains(batch: Batch, without: frozenset[int] = frozenset()) -> Iterator[Pack]:
    """A batch's rollouts, each branch a pack; those whose number is in `without` are left out."""
    spans: dict[int, dict[int, Span]] = {}
    for (number, segment), span in batch.spans.items():
        if len(span.trained):
            spans.setdefault(number, {})[segment] = span
    for number, rollout in batch.rollouts:
        left = {} if number in without else spans.get(number, {})
        trajectory = rollout.trajectory
        for leaf in trajectory.leaves():
            path = trajectory.path(leaf)
            if left.keys().isdisjoint(path):
                continue
            tree = TokenTree()
            end = tree.root
            for index in path:
                token_ids = trajectory.segments[index].token_ids
                end = tree.append(Node(token_ids, end, left.pop(index, None)))
            yield flatten(tree)
