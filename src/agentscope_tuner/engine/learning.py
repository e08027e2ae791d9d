"""What a step's rollouts teach: columns, advantages, and one update or several.

The verbs of learner and algorithm are called here, in the order that `algorithms.base` gives.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.engine.base import Columns, Learner, Tuned
from agentscope_tuner.engine.experts import Experts, interleaved
from agentscope_tuner.engine.finite import refuse_advantages, refuse_loss, suspect
from agentscope_tuner.errors import RunError
from agentscope_tuner.experience.base import as_learnt
from agentscope_tuner.trajectory import RolloutGroup

logger = logging.getLogger(__name__)


class Learning:
    """A learner, an algorithm, and the models that know further columns."""

    def __init__(
        self,
        learner: Learner,
        algorithm: Algorithm,
        *,
        others: Mapping[str, Columns] | None = None,
        critic: Tuned | None = None,
        critic_warmup: int = 0,
        experts: Experts | None = None,
        samples_per_update: int | None = None,
        update_epochs: int = 1,
    ) -> None:
        """`others` fill the columns that they are listed under, the learner every other one.

        `critic` fills the column `value` and learns from every update's batch; in the first
        `critic_warmup` steps it alone does. `experts` add to what a step learns from.
        `samples_per_update`: model calls that an update takes at least; None: the whole step's.
        `update_epochs`: how often the updates go through the step's rollouts.
        """
        self.learner = learner
        self.algorithm = algorithm
        self._others = {**(others or {}), **({"value": critic} if critic is not None else {})}
        self._critic = critic
        self._critic_warmup = critic_warmup
        self._experts = experts
        self._samples_per_update = samples_per_update
        self._update_epochs = update_epochs

    def written(self, step: int) -> list[RolloutGroup]:
        """What experts wrote for step number `step`, counted from 1."""
        return [] if self._experts is None else self._experts.groups(step)

    def step(
        self, step: int, groups: Sequence[RolloutGroup], written: Sequence[RolloutGroup] = ()
    ) -> dict[str, float]:
        """Learn from the rollouts of step number `step` and from what was `written` for it; returns
        metrics.

        Raises RunError if an advantage or the gradient is not finite.
        """
        algorithm = self.algorithm
        with as_learnt(groups) as kept:
            kept = interleaved(kept, written)
            if algorithm.before_advantages:
                scored = Batch(kept, lambda rollout: rollout.reward is not None)
                self._fill(scored, algorithm.before_advantages)
                scored.store()
            tell_if_nothing_compares(step, algorithm, kept)
            algorithm.advantages(kept)
        for rollout in (rollout for group in groups for rollout in group.rollouts):
            if rollout.left_out:
                rollout.advantage = None
        groups = kept
        if not groups:
            return {"train/tokens": 0.0}
        parts = split_batch(groups, self._samples_per_update)
        batches = [Batch(part, step=step - 1) for part in parts]
        planned = batches * self._update_epochs
        for batch in batches:
            self._fill(batch, algorithm.before_updates(len(planned)) - batch.columns.keys())
        updates = []
        for number, batch in enumerate(planned):
            done = step - 1 + number / len(planned)
            updates.append(self._update(step, done, batch))
        learnt = over_updates(updates)
        algorithm.after_step(learnt, groups)
        return learnt

    def save(self, directory: Path) -> None:
        """Write a checkpoint of everything that learns."""
        self.learner.save(directory)
        if self._critic is not None:
            self._critic.save(directory)

    def release(self) -> None:
        """Give the memory of all models back."""
        for model in (self.learner, *self._others.values()):
            model.release()

    def _update(self, step: int, done: float, batch: Batch) -> dict[str, float]:
        algorithm = self.algorithm
        if algorithm.scope != "token":
            self._fill(batch, {"current"})
        algorithm.prepare(batch)
        refuse_advantages(step, batch)
        values: dict[str, float] = {}
        if self._critic is not None:
            values = self._critic.forward_backward(batch, algorithm)
            values |= self._critic.optim_step(done)
        if step <= self._critic_warmup:
            batch.store()
            return {"train/tokens": float(len(batch)), **values}
        metrics = values | self.learner.forward_backward(batch, algorithm)
        refuse_loss(step, batch, metrics.get("policy/loss", 0.0))
        try:
            metrics |= self.learner.optim_step(done)
        except RunError as error:
            raise RunError(
                f"{error} Rollout {suspect(batch)} has the largest share of the loss."
            ) from error
        batch.store()
        return metrics

    def _fill(self, batch: Batch, columns: Collection[str]) -> None:
        for name in sorted(columns & self._others.keys()):
            self._others[name].forward(batch, {name})
        if own := set(columns) - self._others.keys():
            self.learner.forward(batch, own)


def tell_if_nothing_compares(
    step: int, algorithm: Algorithm, groups: Sequence[RolloutGroup]
) -> None:
    """Warn if failures have left no group of which an algorithm could compare two rollouts."""
    if algorithm.compares and groups and all(len(group.rewards) < 2 for group in groups):
        logger.warning(
            "Step %d taught nothing: %s compares the rollouts of a group, and no group has two "
            "that did not fail (rollout/failed/<kind> says why, astuner show the messages).",
            step,
            algorithm.name,
        )


def split_batch(
    groups: Sequence[RolloutGroup], samples: int | None
) -> Iterator[Sequence[RolloutGroup]]:
    """Cut a batch at group borders so that each part has at least `samples` model calls."""
    if samples is None:
        yield groups
        return
    part: list[RolloutGroup] = []
    calls = 0
    for group in groups:
        part.append(group)
        calls += group.calls
        if calls >= samples:
            yield part
            part, calls = [], 0
    if part:
        yield part


def over_updates(updates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """One step's metrics from its updates': counts are added up, the rest are means or maxima."""
    merged: dict[str, float] = {}
    for key in dict.fromkeys(key for update in updates for key in update):
        values = [update[key] for update in updates if key in update]
        if key.startswith("train/"):
            merged[key] = sum(values)
        elif key.endswith("_max"):
            merged[key] = max(values)
        else:
            merged[key] = sum(values) / len(values)
    return merged
