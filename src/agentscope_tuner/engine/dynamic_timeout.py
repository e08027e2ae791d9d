"""A limit on a rollout's time that follows how long rollouts take.

    limit = min(max_timeout * (max_retry_times + 1), ratio * mean)

for a rollout with all its attempts, where the mean is over the rollouts of the last steps that did
not fail. (Trinity-RFT's is over all since the start, so answers that grow while the model learns
meet the limit of the time when they were short.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentscope_tuner.trajectory import RolloutGroup

REMEMBERED = 10
"""Steps that the mean is over."""


class DynamicTimeout:
    """Remembers how long rollouts took."""

    def __init__(self, ratio: float, warmup_steps: int, longest_s: float) -> None:
        """`ratio`: limit over mean; there is none in the first `warmup_steps` steps, and none above
        `longest_s`."""
        self._ratio = ratio
        self._warmup_steps = warmup_steps
        self._longest_s = longest_s
        self._steps = 0
        self._recent: list[tuple[float, int]] = []
        """Seconds and number of the rollouts of the last steps."""

    @property
    def limit_s(self) -> float | None:
        """What a rollout may take now; None: nothing is known yet."""
        count = sum(count for _, count in self._recent)
        if self._steps < self._warmup_steps or not count:
            return None
        mean = sum(seconds for seconds, _ in self._recent) / count
        return min(self._longest_s, self._ratio * mean)

    def drawn(self, groups: Sequence[RolloutGroup]) -> None:
        """A step's rollouts are done."""
        took = [r.seconds for group in groups for r in group.rollouts if r.error is None]
        self._recent = [*self._recent, (sum(took), len(took))][-REMEMBERED:]
        self._steps += 1

    def state_dict(self) -> dict[str, Any]:
        """What it remembers."""
        return {"steps": self._steps, "recent": [list(one) for one in self._recent]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it."""
        self._steps = state["steps"]
        self._recent = [(seconds, count) for seconds, count in state["recent"]]
