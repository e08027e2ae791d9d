"""Which rollouts go into which pack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agentscope_tuner.training.flatten import flatten
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.tree import TokenTree, trained_indices
from agentscope_tuner.trajectory import Rollout, RolloutGroup

Numbered = tuple[int, Rollout]
"""A rollout, and its number through all groups."""


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
    of one pack share what their prompts have in common, which is all of it within a group and often
    a system prompt between groups. One that is longer than `max_tokens` gets a pack of its own: it
    cannot be cut without losing context.
    """
    packs: list[Pack] = []
    row: list[Numbered] = []
    room = max_tokens
    for rollouts, size in _pieces(groups, max_tokens, skip_zero_advantage):
        if row and size > room:
            packs.append(flatten(_tree(row)))
            row, room = [], max_tokens
        row += rollouts
        room -= size
    if row:
        packs.append(flatten(_tree(row)))
    return packs


def _pieces(
    groups: Iterable[RolloutGroup], max_tokens: int, skip_zero_advantage: bool
) -> Iterator[tuple[list[Numbered], int]]:
    """A group's rollouts and their tokens; several parts where it is too large for a pack."""
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
        size = _tree(numbered).size
        if size <= max_tokens:
            yield numbered, size
            continue
        together: list[Numbered] = []
        for entry in numbered:
            if together and _tree([*together, entry]).size > max_tokens:
                yield together, _tree(together).size
                together = []
            together.append(entry)
        yield together, _tree(together).size


def _tree(numbered: Iterable[Numbered]) -> TokenTree:
    tree = TokenTree()
    for number, rollout in numbered:
        tree.add(rollout, number)
    return tree
