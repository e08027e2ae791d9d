"""What several packs begin with, computed once for all of them.

Tasks of one program share a system prompt and tools, often longer than what follows, and a group
that is too large for a pack has its prompt in each part. Keys and values of such a prefix depend on
nothing behind it. So it goes through the model once; packs attend to its keys and values, layer by
layer, and their gradients are added up there; going backward through the prefix once, with those
sums, gives its share of the weights' gradient, which is exact.

Shapes: P tokens of the prefix, T of a pack behind it, HK heads of keys and values of D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agentscope_tuner.training.master_weights import added_up
from agentscope_tuner.training.pack import Pack

LEAST = 128
"""Tokens from which on it pays: products of fewer rows are slow, and the weights' gradients are
gone through once more."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Consecutive packs."""

    packs: list[Pack]
    prefix: int = 0
    """How many tokens all of them begin with, which are computed once; 0: each computes its own."""

    @property
    def saved(self) -> int:
        """Tokens that are in several packs and computed in none but the first."""
        return (len(self.packs) - 1) * self.prefix


def bundles_of(packs: Iterable[Pack], most: float = float("inf")) -> Iterator[Bundle]:
    """All packs in order, in bundles that share a prefix, or of one pack.

    A pack joins a bundle if that saves as many tokens at least as without it, where the prefix gets
    shorter. One of more than `most` tokens is by itself.
    """
    bundle: list[Pack] = []
    size = 0
    for pack in packs:
        opening = _opening(pack) if len(pack.token_ids_T) <= most else 0
        shared = _equal(bundle[0], pack, min(size, opening)) if bundle else 0
        if shared >= LEAST and len(bundle) * shared >= (len(bundle) - 1) * size:
            bundle.append(pack)
            size = shared
        else:
            if bundle:
                yield _closed(bundle, size)
            bundle, size = [pack], opening
    if bundle:
        yield _closed(bundle, size)


class Prefix:
    """Keys and values of a prefix by layer, and the sum of their gradients."""

    def __init__(self, size: int) -> None:
        self.size = size
        """P."""
        self._known: dict[int, tuple[_Known, _Known]] = {}

    def joined(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values that a layer attends to, [1, HK, P + T, D], given those of T tokens.

        In the prefix's own pass, the first, what is given, [1, HK, P, D], which is kept.
        """
        if layer not in self._known:
            self._known[layer] = _Known(key), _Known(value)
            return key, value
        keys, values = self._known[layer]
        return torch.cat([keys.leaf, key], dim=2), torch.cat([values.leaf, value], dim=2)

    def backward(self) -> None:
        """Go backward from what all packs have added, and forget everything."""
        known = [known for both in self._known.values() for known in both]
        self._known.clear()
        grads = [(x.made, x.grad.to(x.made.dtype)) for x in known if x.grad is not None]
        if grads:
            torch.autograd.backward([made for made, _ in grads], [grad for _, grad in grads])


class _Known:
    """What packs take for given, and go backward to."""

    def __init__(self, made: Tensor) -> None:
        self.made = made
        """With the graph that leads there."""
        self.leaf = made.detach().requires_grad_(made.requires_grad)
        self.grad = added_up(self.leaf) if made.requires_grad else None
        """The sum of the packs' gradients, in float32."""


def _closed(bundle: list[Pack], size: int) -> Bundle:
    return Bundle(bundle, size if len(bundle) > 1 else 0)


def _opening(pack: Pack) -> int:
    """How many first tokens all others of a pack follow, and nothing trained is predicted from."""
    before_T = np.arange(min(pack.predecessors_N, default=0))
    follow_T = pack.subtree_end_T[: len(before_T)] == len(pack.token_ids_T)
    follow_T &= pack.position_ids_T[: len(before_T)] == before_T
    return len(before_T) if follow_T.all() else int(follow_T.argmin())


def _equal(one: Pack, other: Pack, most: int) -> int:
    """How many of their first tokens are the same, at most `most`."""
    differ = np.flatnonzero(one.token_ids_T[:most] != other.token_ids_T[:most])
    return int(differ[0]) if len(differ) else most
