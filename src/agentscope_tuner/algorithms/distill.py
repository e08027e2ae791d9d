"""On-policy distillation: a teacher judges every token that the student samples.

`on_policy_distill`: A_t = kl_coef * (ln teacher - ln student), the sampled reverse divergence,
with no discount; Agarwal et al., 2024 (arXiv:2306.13649). `jsd`: the sampled Jensen-Shannon
divergence with M = b * teacher + (1 - b) * student,

    A_t = kl_coef * (1 - b) * (ln M - ln student),   b = lambda_coef

which tends to the reverse divergence as b rises to 1 and to the forward one as it falls to 0. No
reward is needed, and none is looked at. The teacher has the student's tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from agentscope_tuner.algorithms.advantage import Advantage, set_token_advantages
from agentscope_tuner.algorithms.token_rewards import trained_calls
from agentscope_tuner.algorithms.types import AlgorithmType
from agentscope_tuner.errors import InputError
from agentscope_tuner.trajectory import RolloutGroup

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OnPolicyDistill(Advantage):
    """Advantages of `on_policy_distill`."""

    name: ClassVar[str] = "on_policy_distill"
    needs: ClassVar[frozenset[str]] = frozenset({"teacher", "proximal"})
    teacher: ClassVar[str] = "teacher"
    """The column of its log-probabilities."""

    kl_coef: float = 1.0
    """Scale of the advantages."""
    largest: float = 20.0
    """Advantages are bounded by this on both sides."""

    def __call__(self, groups: Sequence[RolloutGroup]) -> None:
        """Set one advantage a token, of every rollout that did not fail."""
        for rollout in (rollout for group in groups for rollout in group.rollouts):
            rollout.advantage = None
            if rollout.error is not None:
                continue
            calls = []
            for sampled in trained_calls(rollout):
                teacher, student = (
                    np.asarray(sampled.columns[name], np.float64)[sampled.trained()]
                    for name in (self.teacher, "proximal")
                )
                calls.append(self.of_tokens(teacher, student).clip(-self.largest, self.largest))
            set_token_advantages(rollout, calls)

    def of_tokens(self, teacher: Floats, student: Floats) -> Floats:
        """Advantages of tokens, given ln p under both."""
        return self.kl_coef * (teacher - student)


@dataclass(frozen=True)
class JensenShannon(OnPolicyDistill):
    """Advantages of `jsd`. Raises InputError unless lambda_coef is between 0 and 1."""

    name: ClassVar[str] = "jsd"

    lambda_coef: float = 0.5
    """The teacher's share b in the mixture."""

    def __post_init__(self) -> None:
        if not 0 < self.lambda_coef < 1:
            raise InputError(f"lambda_coef is {self.lambda_coef}; it must be between 0 and 1")

    def of_tokens(self, teacher: Floats, student: Floats) -> Floats:
        """See the module."""
        b = self.lambda_coef
        mixture = np.logaddexp(np.log(b) + teacher, np.log1p(-b) + student)
        return self.kl_coef * (1 - b) * (mixture - student)


ON_POLICY_DISTILL = AlgorithmType(
    "on_policy_distill", "A stronger model of the same tokenizer is at hand.", "on_policy_distill"
)
JSD = AlgorithmType("jsd", "As on_policy_distill, with a bounded divergence.", "jsd")
