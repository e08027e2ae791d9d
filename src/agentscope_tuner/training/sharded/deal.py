"""Which rank computes which packs: equally many each, or the others would wait for ever."""

from __future__ import annotations

from collections.abc import Sequence

from agentscope_tuner.training.pack import Pack


def packs_of(packs: Sequence[Pack], rank: int, world: int) -> list[tuple[Pack, bool]]:
    """The packs that a rank computes, the longest first, and whether each counts.

    Every pack counts on one rank. A rank that has one less computes one more that does not count:
    each pass gathers the weights from all ranks.
    """
    by_length = sorted(packs, key=lambda pack: -len(pack.token_ids_T))
    own = [(pack, True) for pack in by_length[rank::world]]
    missing = -(-len(packs) // world) - len(own)
    return own + [(pack, False) for pack in by_length[-1:] * missing]
