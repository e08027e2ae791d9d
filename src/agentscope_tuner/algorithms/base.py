"""What an algorithm is, and what the learner shows it.

An optimizer batch takes this way:

1. the learner fills the columns of `before_advantages`; `advantages` sets what each rollout, call
   or token was worth;
2. before the step's first update the learner fills the columns of `before_updates`;
3. before each update of an algorithm whose `scope` is more than one token, the learner fills
   `current`, in a pass without gradient;
4. `prepare` sees the whole batch and turns what couples tokens into constants, one a token; it also
   says what share of the loss each token has (the column `weight`);
5. `loss` is then asked for one loss a token, of any few tokens at a time: with all coupling in
   constants, the gradient of the weighted sum is exact, however the batch was cut.

The learner knows no algorithm, and an algorithm knows neither packs nor devices. Shapes: N is the
number of tokens of a piece, flat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from agentscope_tuner.algorithms.aggregation import weights
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.tokens import Metrics, Tokens
from agentscope_tuner.trajectory import RolloutGroup

Scope = Literal["token", "sequence", "pair", "batch"]
"""What couples tokens: nothing, a sample's or rollout's tokens, a pair's, all of a batch's."""

Data = Literal["rollouts", "conversations", "texts", "pairs"]
"""What is learnt from: rollouts of tasks, or what the dataset itself holds."""


class Algorithm:
    """One learning rule. The hooks of this base do the least that is right."""

    name: str
    """The `algorithm_type` it is known by."""
    data: Data = "rollouts"
    scope: Scope = "token"
    compares: bool = False
    """Whether it compares the rollouts of a group, so that a group of one teaches nothing."""
    needs_reference: bool = False
    needs_teacher: bool = False
    needs_critic: bool = False
    needs_experts: bool = False
    needs_greedy: bool = False
    teacher_top: int = 0
    """Of how many of its likeliest tokens the teacher is asked, for the column `teacher_top`."""
    learns_without_advantage: bool = True
    """Whether a token with advantage 0 may have a gradient."""

    @property
    def before_advantages(self) -> frozenset[str]:
        """Columns that `advantages` reads."""
        return frozenset()

    def before_updates(self, updates: int) -> frozenset[str]:
        """Columns that are filled before the first of so many updates on a step's rollouts."""
        return frozenset()

    def hinted(self, groups: Sequence[RolloutGroup]) -> Sequence[RolloutGroup]:
        """The groups as the model reads them to be its own teacher, for `self_teacher`."""
        return groups

    def advantages(self, groups: Sequence[RolloutGroup]) -> None:
        """Set what is learnt of each rollout: everything, unless it failed."""
        for rollout in (rollout for group in groups for rollout in group.rollouts):
            rollout.advantage = None if rollout.error is not None else 1.0

    def prepare(self, batch: Batch) -> None:
        """Turn what couples tokens into columns."""
        batch.columns["weight"] = weights("token-mean", batch)

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        """Loss per token [N], before its weight, and metrics."""
        raise NotImplementedError

    def value_loss(self, values_N: Tensor, columns: Mapping[str, Tensor]) -> tuple[Tensor, Metrics]:
        """The critic's loss per token [N], of which it takes the mean over the batch, and metrics.

        `values_N` have a gradient; `columns` are the batch's at these tokens. Asked for where
        `needs_critic`.
        """
        raise NotImplementedError

    def after_step(self, metrics: Mapping[str, float], groups: Sequence[RolloutGroup]) -> None:
        """A step is done; `metrics` are what the learner reported of it."""

    def state_dict(self) -> dict[str, Any]:
        """What the algorithm itself remembers from step to step, as plain data."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
