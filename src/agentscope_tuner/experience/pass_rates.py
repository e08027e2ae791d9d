"""How many of a step's tasks can teach something: pass rates of their groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from agentscope_tuner.experience.base import Operator
from agentscope_tuner.trajectory import RolloutGroup


@dataclass
class PassRateCalculator(Operator):
    """Logs what data selectors are told: the mean reward of each task's group.

    Selectors hear it without this operator too (in Trinity-RFT they hear it from this one alone).
    """

    name: ClassVar[str] = "pass_rate_calculator"

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Mark nothing."""

    def metrics(self, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        """Shares of the tasks whose pass rate is above 0 and below 1; likewise by at least 1/16; 0;
        and 1."""
        rates = np.array([np.mean(group.rewards) for group in groups if group.rewards])
        if not len(rates):
            return {}
        within = {
            "valid_ratio": (rates > 0) & (rates < 1),
            "strict_valid_ratio": (rates > 1 / 16 + 1e-3) & (rates < 15 / 16 - 1e-3),
            "unsolved_ratio": rates <= 0,
            "solved_ratio": rates >= 1,
        }
        return {f"selection/{name}": float(np.mean(those)) for name, those in within.items()}
