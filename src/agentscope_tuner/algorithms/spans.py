"""Where the trained tokens of a sampled segment are, and what is known of them: columns.

| column | written by | meaning |
| --- | --- | --- |
| `sampler` | sampler | ln p of the distribution drawn from |
| `proximal` | learner | ln p under the weights before the step's first update |
| `current` | learner | ln p under the weights before this update |
| `old` | algorithm | the denominator of its ratio: `sampler`, or `proximal` |
| `reference` | learner | ln p under the reference model |
| `teacher` | learner | ln p under the teacher |
| `self_teacher` | learner | ln p behind a successful sibling, under the weights before the step |
| `teacher_top` | teacher | ln p of its likeliest tokens, [N, K] |
| `other_ids` | teacher | their ids, [N, K] |
| `expected_push` | learner | mean of p (H + ln p) over the tokens that could have been drawn |
| `value` | critic | expected return, as the critic sees it before the step |
| `return` | algorithm | what the critic is to expect |
| `entropy` | learner | of the distribution drawn from, in nats, before the update |
| `learner` | learner | ln p under the weights that the update's gradient was taken at |
| `loss` | learner | what the algorithm said of the token, before its weight; 0: not computed |
| `advantage` | algorithm | how much better than expected |
| `penalty` | algorithm | what leaving the reference costs of the reward |
| `expert` | algorithm | 1 where somebody wrote the token down, 0 where it was sampled |
| `weight` | algorithm | share of the batch's loss; they add up to 1 under `token-mean` |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentscope_tuner.trajectory import Rollout, Sampled


@dataclass(frozen=True, slots=True)
class Span:
    """The trained tokens of one sampled segment, and where they are in the batch."""

    sampled: Sampled
    trained: NDArray[np.int64]
    """Their indices in the segment."""
    start: int

    @property
    def rows(self) -> slice:
        """Their rows in the batch's columns."""
        return slice(self.start, self.start + len(self.trained))

    def write(self, name: str, values: NDArray[np.float32]) -> None:
        """Give the segment a column, NaN where a token is not trained."""
        column = np.full(len(self.sampled.forced), np.nan, np.float32)
        column[self.trained] = values
        self.sampled.columns[name] = column.tolist()


def sampled_of(rollout: Rollout) -> list[tuple[int, Sampled]]:
    """The sampled segments of a rollout with their numbers."""
    segments = enumerate(rollout.trajectory.segments)
    return [(i, segment.sampled) for i, segment in segments if segment.sampled is not None]


def logprobs_of(sampled: Sampled) -> NDArray[np.float32]:
    """ln p of the distribution drawn from, one a token."""
    return np.asarray(sampled.logprobs, np.float32)


def column_of(name: str) -> Callable[[Sampled], NDArray[np.float32]]:
    """Reads a column of a segment, NaN where it has none."""

    def of(sampled: Sampled) -> NDArray[np.float32]:
        values = sampled.columns.get(name)
        if values is None:
            return np.full(len(sampled.forced), np.nan, np.float32)
        return np.asarray(values, np.float32)

    return of


def has_advantage(rollout: Rollout) -> bool:
    """Whether a rollout is trained on."""
    return rollout.advantage is not None
