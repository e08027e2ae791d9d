"""Which rollouts go into which pack."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.training.flatten import flatten
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.tree import TokenTree
from agentscope_tuner.trajectory import Rollout

Numbered = tuple[int, Rollout]
"""A rollout, and its number through all groups."""


@dataclass(frozen=True, slots=True)
class PackSize:
    """How many tokens a pack has."""

    most: int
    """A group of more is split, and each part computes anew what the prompts have in common."""
    enough: int = sys.maxsize
    """No group is added beyond these: each token of a pack takes memory until the pass is over."""
    enough_shared: int = sys.maxsize
    """Unless half of its tokens or more are in the pack already, as those of a system prompt and
    tools often are: such groups are added up to these."""

    @classmethod
    def on_a_processor(cls, most: int) -> PackSize:
        """Where products of 512 tokens are as fast as those of more, which take more memory; a
        larger pack pays where it computes a long system prompt once instead of once a group."""
        return cls(most, enough=512, enough_shared=4096)


DEFAULT_PACK_SIZE = PackSize(8192)


def pack_batch(
    batch: Batch, pack_size: PackSize, *, without: frozenset[int] = frozenset()
) -> list[Pack]:
    """Pack a batch's rollouts in order, at most `pack_size.most` tokens a pack.

    Rollouts whose number is in `without` are left out. Those of one pack share what their prompts
    have in common, which is all of it within a group and often a system prompt between groups. One
    that is longer gets a pack of its own: it cannot be cut without losing context.
    """
    packs: list[Pack] = []
    row: list[Numbered] = []
    held = 0
    """Tokens of the row at most."""
    for rollouts, size in _pieces(batch, pack_size.most, without):
        together = [*row, *rollouts]
        if held + size <= min(pack_size.most, pack_size.enough):
            row, held = together, held + size
        elif row and (joined := _joined(batch, row, together, size, pack_size)):
            row, held = together, joined
        else:
            if row:
                packs.append(flatten(_tree(batch, row)))
            row, held = rollouts, size
    if row:
        packs.append(flatten(_tree(batch, row)))
    return packs


def _joined(
    batch: Batch, row: list[Numbered], together: list[Numbered], size: int, pack_size: PackSize
) -> int:
    """The tokens of both if the added group, of `size`, is half in the row already and both fit."""
    joined = _tree(batch, together).size
    shared = _tree(batch, row).size + size - joined
    fits = joined <= min(pack_size.most, pack_size.enough_shared)
    return joined if fits and 2 * shared >= size else 0


def without_gradient(batch: Batch, algorithm: Algorithm) -> frozenset[int]:
    """Numbers of the rollouts of a prepared batch that need not be computed: none of their tokens
    can have a gradient."""
    idle_N = batch.columns["weight"] == 0
    if not algorithm.learns_without_advantage:
        idle_N |= batch.columns["advantage"] == 0
    busy = set(batch.rollout_N[~idle_N].tolist())
    return frozenset(number for number, _ in batch.rollouts if number not in busy)


def _pieces(
    batch: Batch, max_tokens: int, without: frozenset[int]
) -> Iterator[tuple[list[Numbered], int]]:
    """A group's rollouts and their tokens; several parts where it is too large for a pack."""
    trained = {number for (number, _), span in batch.spans.items() if len(span.trained)} - without
    group_of = dict(zip(batch.rollout_N.tolist(), batch.group_N.tolist(), strict=True))
    members = [(n, rollout) for n, rollout in batch.rollouts if n in trained]
    for _, group in groupby(members, key=lambda member: group_of[member[0]]):
        numbered = list(group)
        size = _tree(batch, numbered).size
        if size <= max_tokens:
            yield numbered, size
            continue
        together: list[Numbered] = []
        for entry in numbered:
            if together and _tree(batch, [*together, entry]).size > max_tokens:
                yield together, _tree(batch, together).size
                together = []
            together.append(entry)
        yield together, _tree(batch, together).size


def _tree(batch: Batch, numbered: Iterable[Numbered]) -> TokenTree:
    tree = TokenTree()
    for number, rollout in numbered:
        tree.add(number, rollout, batch.spans)
    return tree
