"""What the loop asks of those who sample and of those who learn, wherever they live."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.rollout.sampling import Sampling
from agentscope_tuner.rollout.under_way import UnderWay
from agentscope_tuner.trajectory import Rollout, RolloutGroup


class RolloutSource(Protocol):
    """Runs workflows against a model whose weights it is given."""

    async def rollout(
        self,
        tasks: Sequence[dict[str, Any]],
        *,
        group_size: int,
        label: str,
        seed: int,
        sampling: Sampling,
        on_done: Callable[[Rollout], None],
    ) -> list[RolloutGroup]:
        """Run `group_size` rollouts of each task, all concurrently; failures are in the groups.

        `label` names the rollouts; the same label, seed and weights repeat the same draws.
        """
        ...

    def running(self) -> list[UnderWay]:
        """The rollouts that are under way, as far as is known; called from any thread."""
        ...

    async def rest(self) -> None:
        """Give back what memory the weights take, as far as that is possible: nothing is asked for
        before `adopt`."""
        ...

    async def adopt(self, weights: Mapping[str, Tensor], version: int) -> None:
        """Sample from these weights from now on, as this version.

        The learner may change them once this has returned. Where rollouts are under way (the
        schedule `fully_async`), calls that have begun may end under the old ones; every token is
        stamped with the version that drew it.
        """
        ...

    async def close(self) -> None:
        """End all work and give the memory back."""
        ...


class Columns(Protocol):
    """Something that knows numbers of tokens: the learner, a frozen model, a critic."""

    def forward(self, batch: Batch, columns: Collection[str]) -> None:
        """Fill columns of a batch, without gradient."""
        ...

    def release(self) -> None:
        """Give the memory back; it cannot be used any more."""
        ...


class Tuned(Columns, Protocol):
    """Weights that are tuned: the policy's, or a critic's. The verbs are called from one thread,
    always the same."""

    def forward_backward(self, batch: Batch, algorithm: Algorithm) -> dict[str, float]:
        """Add the gradient of one prepared batch and fill its column `loss`; returns metrics."""
        ...

    def optim_step(self, at: float) -> dict[str, float]:
        """Update the weights where `at` steps of the run are done; returns metrics."""
        ...

    def save(self, directory: Path) -> None:
        """Write what resuming needs into a checkpoint's `tuner_state/`; a learner also writes the
        complete Hugging Face model directory around it."""
        ...


class Learner(Tuned, Protocol):
    """Holds the policy."""

    def weights(self) -> Mapping[str, Tensor]:
        """The weights as they are sampled from, under their Hugging Face names."""
        ...
