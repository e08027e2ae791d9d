"""Metrics of the trained tokens of one batch, over all its packs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from agentscope_tuner.training.pack import Pack

LARGEST = "_max"
"""How the names of metrics end that are the largest of a token, not the mean."""


class TokenMetrics:
    """Sums and maxima over tokens, kept on the device until they are asked for."""

    def __init__(self, prefix: str = "policy") -> None:
        self._prefix = prefix
        self._sums: dict[str, Tensor] = {}
        self._largest: dict[str, list[Tensor]] = {}

    def add(self, name: str, values_n: Tensor) -> None:
        """Count some tokens' values."""
        if name.endswith(LARGEST):
            self._largest.setdefault(name, []).append(values_n.max())
            return
        total = values_n.sum()
        self._sums[name] = self._sums[name] + total if name in self._sums else total

    def add_all(self, values: Mapping[str, Tensor]) -> None:
        """Count some tokens' values of several metrics."""
        for name, values_n in values.items():
            self.add(name, values_n.detach())

    def plain(self) -> tuple[dict[str, float], dict[str, float]]:
        """Sums and maxima as numbers, to be sent to other ranks."""
        sums = {name: total.item() for name, total in self._sums.items()}
        return sums, {name: torch.stack(v).max().item() for name, v in self._largest.items()}

    def add_plain(self, sums: Mapping[str, float], largest: Mapping[str, float]) -> None:
        """Count what `plain` gave on another rank."""
        for name, value in (*sums.items(), *largest.items()):
            self.add(name, torch.tensor([value], dtype=torch.float64))

    def result(self, tokens: int) -> dict[str, float]:
        """Means over `tokens` tokens, and maxima."""
        means = {name: total.item() / tokens for name, total in self._sums.items()}
        largest = {name: torch.stack(values).max().item() for name, values in self._largest.items()}
        return {f"{self._prefix}/{name}": value for name, value in (means | largest).items()}


def of_update(
    tokens: int, packs: Sequence[Pack], loss: float, metrics: TokenMetrics, *, saved: int = 0
) -> dict[str, float]:
    """Those of one update: how much there was, how much of it was computed in which `packs` (but
    for `saved` tokens, which earlier ones had), and what was found there."""
    computed = sum(len(pack.targets_N) for pack in packs)
    return {
        "train/tokens": float(tokens),
        "train/skipped_tokens": float(tokens - computed),
        "train/packed_tokens": float(sum(len(pack.token_ids_T) for pack in packs) - saved),
        "train/packs": float(len(packs)),
        **({"policy/loss": loss, **metrics.result(computed)} if packs else {}),
    }
