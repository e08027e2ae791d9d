"""The trained tokens of one optimizer batch, flat, with everything that is known of each.

What algorithms read and write are **columns**: one number a trained token, under a name; `spans.py`
lists them. They come from the rollouts (`Sampled.columns`) and go back there, where the record
keeps them and the viewer shows them.

Shapes: N trained tokens of the batch. A **sample** is one model call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentscope_tuner.algorithms.spans import (
    Span,
    column_of,
    has_advantage,
    logprobs_of,
    sampled_of,
)
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled

STORED = (
    *("proximal", "reference", "teacher", "self_teacher", "value", "return"),
    *("entropy", "expected_push", "learner"),
)
"""Columns that `Batch.store` writes back into the rollouts."""


class Batch:
    """Columns over the trained tokens of the rollouts that take part."""

    def __init__(
        self,
        groups: Sequence[RolloutGroup],
        takes_part: Callable[[Rollout], bool] = has_advantage,
        *,
        step: int = 0,
    ) -> None:
        self.groups = groups
        self.step = step
        """Steps of the run that are done before this one."""
        self.rollouts: list[tuple[int, Rollout]] = []
        """Those that take part, with their numbers through all groups."""
        self.spans: dict[tuple[int, int], Span] = {}
        """By the number of the rollout and of the segment."""
        indices: list[tuple[int, int, int, int]] = []
        number = size = 0
        for group_number, group in enumerate(groups):
            for rollout in group.rollouts:
                if takes_part(rollout):
                    self.rollouts.append((number, rollout))
                    for segment, sampled in sampled_of(rollout):
                        trained = sampled.trained()
                        if rollout.trajectory.segments[segment].parent is None:
                            trained = trained[trained > 0]  # the first token follows nothing
                        span = Span(sampled, trained, size)
                        indices.append((len(span.trained), len(self.spans), number, group_number))
                        self.spans[number, segment] = span
                        size += len(span.trained)
                number += 1
        counts, *numbers = np.array(indices, np.int64).reshape(-1, 4).T
        self.sample_N, self.rollout_N, self.group_N = (
            torch.from_numpy(np.repeat(values, counts)) for values in numbers
        )
        self.columns: dict[str, Tensor] = {"sampler": self._gather(logprobs_of)}
        for name in {name for span in self.spans.values() for name in span.sampled.columns}:
            self.columns[name] = self._gather(column_of(name))
        by_number = {n: rollout.advantage for n, rollout in self.rollouts}
        of_rollout_N = self._of_rollouts(by_number)
        of_token_N = self.columns.get("advantage", torch.full_like(of_rollout_N, torch.nan))
        self.columns["advantage"] = torch.where(of_token_N.isnan(), of_rollout_N, of_token_N)
        experts = {n: float(rollout.expert) for n, rollout in self.rollouts}
        self.expert_N = self._of_rollouts(experts) > 0
        """True at tokens that somebody wrote down."""

    def __len__(self) -> int:
        return len(self.rollout_N)

    def mean(self, values_N: Tensor, index_N: Tensor) -> Tensor:
        """Each token's mean of `values_N` over the tokens of equal index, [N], in float64."""
        return self.sum(values_N, index_N) / self.sum(torch.ones_like(values_N), index_N)

    def sum(self, values_N: Tensor, index_N: Tensor) -> Tensor:
        """Each token's sum of `values_N` over the tokens of equal index, [N], in float64."""
        if not len(index_N):
            return values_N.double()
        sums = torch.zeros(int(index_N.max()) + 1, dtype=torch.float64)
        return sums.index_add_(0, index_N, values_N.double())[index_N]

    def store(self, names: Iterable[str] = STORED) -> None:
        """Write columns into the rollouts, as far as they are there."""
        for name in names:
            if name not in self.columns:
                continue
            values_N = self.columns[name].numpy()
            for span in self.spans.values():
                span.write(name, values_N[span.rows])

    def _gather(self, read: Callable[[Sampled], NDArray[np.float32]]) -> Tensor:
        parts = [read(span.sampled)[span.trained] for span in self.spans.values()]
        return torch.from_numpy(np.concatenate([np.empty(0, np.float32), *parts]))

    def _of_rollouts(self, values: Mapping[int, float | None]) -> Tensor:
        """One value a rollout as a column; NaN where it has none."""
        table = torch.full((max(values, default=-1) + 1,), torch.nan)
        for number, value in values.items():
            table[number] = torch.nan if value is None else value
        return table[self.rollout_N]
