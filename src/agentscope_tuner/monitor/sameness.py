"""Telling that there is nothing to learn from: rewards that never vary."""

from __future__ import annotations

from collections.abc import Mapping

PATIENCE = 3
"""Steps at a run's beginning after which it is said, once."""


class Sameness:
    """Looks at the first steps of a run, and for as long as nothing in them varies."""

    def __init__(self) -> None:
        self._steps = 0
        self._rewards: set[float] = set()
        self._only_skipped = True

    def after_step(self, metrics: Mapping[str, float]) -> str | None:
        """What to tell after this step, if it is the moment to tell it."""
        if self._steps >= PATIENCE or "reward/min" not in metrics:
            return None
        self._steps += 1
        self._rewards |= {metrics["reward/min"], metrics["reward/max"]}
        tokens = metrics.get("train/tokens", 0.0)
        self._only_skipped &= 0 < tokens == metrics.get("train/skipped_tokens", 0.0)
        if self._steps < PATIENCE:
            return None
        if len(self._rewards) == 1:
            return (
                f"every reward of the first {PATIENCE} steps was {self._rewards.pop():g}: nothing "
                "tells good from bad, so nothing is learnt. See what the judge makes of an answer "
                "with `astuner check`, or take tasks that the model solves now and then."
            )
        if self._only_skipped:
            return (
                f"in the first {PATIENCE} steps all rollouts of a task had the same reward: "
                "nothing tells good from bad, so nothing is learnt. Take tasks that the model "
                "solves now and then, a reward with more values, or a larger group_size."
            )
        return None
