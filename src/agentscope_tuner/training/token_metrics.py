"""Metrics of the trained tokens of one batch, over all its packs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from agentscope_tuner.algorithms.base import TokenBatch


class TokenMetrics:
    """Sums and maxima over tokens, kept on the device until they are asked for."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._ratio_max: list[Tensor] = []

    def add(self, loss_n: Tensor, extra: Mapping[str, Tensor], batch: TokenBatch) -> None:
        """Count some tokens: their loss, and what the algorithm reports of them."""
        self._add("loss", loss_n.detach())
        for name, value_n in extra.items():
            self._add(name, value_n.detach())
        if batch.entropy_N is not None:
            self._add("entropy", batch.entropy_N.detach())

    def add_mismatch(self, batch: TokenBatch) -> None:
        """Count how far the learner's probabilities are from the sampler's."""
        # In float64: nothing is cut off, and a ratio of e^100 is still a number.
        d_n = (batch.logprobs_N.detach() - batch.old_logprobs_N).double()
        self._add("ratio_mean", torch.exp(d_n))
        self._ratio_max.append(torch.exp(d_n).max())
        # Tokens were drawn by the sampler, so this estimates KL(sampler || learner).
        self._add("kl_sampler_learner", torch.expm1(d_n) - d_n)

    def result(self, tokens: int, computed: int) -> dict[str, float]:
        """Means over the `computed` tokens; the loss over all `tokens`, as it was trained on."""
        means = {
            f"policy/{name}": total.item() / (tokens if name == "loss" else computed)
            for name, total in self._sums.items()
        }
        if self._ratio_max:
            means["policy/ratio_max"] = torch.stack(self._ratio_max).max().item()
        return means

    def _add(self, name: str, value_n: Tensor) -> None:
        total = value_n.sum()
        self._sums[name] = self._sums[name] + total if name in self._sums else total
