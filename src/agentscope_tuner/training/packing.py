"""Which rollouts go into which pack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from agentscope_tuner.training.flatten import flatten
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.tree import TokenTree, trained_indices
from agentscope_tuner.trajectory import Rollout, RolloutGroup


def trained_tokens(rollout: Rollout) -> int:
    """How many of a rollout's tokens carry a loss."""
    return sum(
        len(trained_indices(segment.sampled))
        for segment in rollout.trajectory.segments
        if segment.sampled is not None
    )


def pack_groups(
    groups: Iterable[RolloutGroup], max_tokens: int, *, skip_zero_advantage: bool = False
) -> list[Pack]:
    """Pack the rollouts that have an advantage, in order, at most `max_tokens` tokens a pack.

    `skip_zero_advantage` leaves those out whose advantage is 0: without a further term in the loss
    they have no gradient. Rollouts are numbered through all groups, left-out ones included. Those
    of one group share their prompt within a pack. One that is longer than `max_tokens` gets a pack
    of its own: it cannot be cut without losing context.
    """
    packs: list[Pack] = []
    row: list[TokenTree] = []
    for tree in _trees(groups, max_tokens, skip_zero_advantage):
        if row and sum(t.size for t in row) + tree.size > max_tokens:
            packs.append(flatten(row))
            row = []
        row.append(tree)
    if row:
        packs.append(flatten(row))
    return packs


def _trees(
    groups: Iterable[RolloutGroup], max_tokens: int, skip_zero_advantage: bool
) -> Iterator[TokenTree]:
    """One tree a group, or several where it is too large for a pack."""
    first = 0
    for group in groups:
        numbered = [
            (first + i, rollout)
            for i, rollout in enumerate(group.rollouts)
            if rollout.advantage is not None
            and not (skip_zero_advantage and rollout.advantage == 0)
            and trained_tokens(rollout)
        ]
        first += len(group.rollouts)
        if not numbered:
            continue
        whole = _tree(numbered)
        if whole.size <= max_tokens:
            yield whole
            continue
        together: list[tuple[int, Rollout]] = []
        for entry in numbered:
            if together and _tree([*together, entry]).size > max_tokens:
                yield _tree(together)
                together = []
            together.append(entry)
        yield _tree(together)


def _tree(numbered: Sequence[tuple[int, Rollout]]) -> TokenTree:
    tree = TokenTree()
    for number, rollout in numbered:
        tree.add(rollout, number)
    return tree
