"""`astuner check`: tasks are rolled out without training, before anything is paid for.

One rollout shows what the model was asked and answered and what the judge made of it; several, of
several tasks, show what a run would learn from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.engine.base import RolloutSource
from agentscope_tuner.engine.models import default_device
from agentscope_tuner.inference.memory import free_memory
from agentscope_tuner.rollout.sampling import Sampling
from agentscope_tuner.runs.estimates import within_groups
from agentscope_tuner.runs.index import task_digest, task_preview
from agentscope_tuner.trajectory import Rollout, RolloutGroup
from agentscope_tuner.verbosity import progress_bars

Task = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A training task that a held-out set has, too."""

    about: str
    set: str
    """The evaluation set."""
    whole: bool
    """Whether all of the task is the same; else it is its first text."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of it."""

    groups: Sequence[RolloutGroup]
    duplicates: Sequence[Duplicate]
    tokenizer: PreTrainedTokenizerBase
    needs: Mapping[str, float]
    """What tuning would take of memory, in bytes, by part."""
    device: str
    free: float
    """Bytes of memory there."""

    @property
    def rollouts(self) -> list[Rollout]:
        """All of them."""
        return [rollout for group in self.groups for rollout in group.rollouts]

    @property
    def teaching(self) -> int:
        """Groups with two different rewards: only from these a run learns."""
        return sum(len(set(group.rewards)) > 1 for group in self.groups)

    @property
    def failures(self) -> Counter[str]:
        """Failed rollouts by the kind of their error."""
        return Counter(str(r.error.kind) for r in self.rollouts if r.error is not None)

    @property
    def truncated(self) -> int:
        """Rollouts that a length limit cut off."""
        return sum(rollout.trajectory.truncated for rollout in self.rollouts)

    @property
    def reward_by_length(self) -> float:
        """Correlation of reward and sampled tokens within groups; NaN if either does not vary."""
        rows = [
            (at, rollout.reward, rollout.trajectory.sampled_tokens)
            for at, group in enumerate(self.groups)
            for rollout in group.rollouts
            if rollout.reward is not None
        ]
        groups, rewards, tokens = np.array(rows, float).reshape(-1, 3).T
        return within_groups(groups.astype(np.int64), tokens, rewards)


async def check_tasks(
    rollouts: RolloutSource,
    tasks: Sequence[Task],
    samples: int,
    *,
    sampling: Sampling,
    seed: int,
    tokenizer: PreTrainedTokenizerBase,
    needs: Mapping[str, float],
    duplicates: Sequence[Duplicate],
) -> Checked:
    """Roll these tasks out, each `samples` times. A failed rollout is a part of the result."""
    device = default_device()
    hidden = len(tasks) * samples == 1
    with progress_bars(disable=hidden) as progress:
        bar = progress.add_task("checking", total=len(tasks) * samples)
        groups = await rollouts.rollout(
            tasks,
            group_size=samples,
            label="check",
            seed=seed,
            sampling=sampling,
            on_done=lambda rollout: progress.advance(bar),
        )
    return Checked(groups, duplicates, tokenizer, needs, str(device), free_memory(device))


def find_duplicates(
    training: Sequence[Mapping[str, Any]], held_out: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[Duplicate]:
    """Training tasks that are held out, too, whole or by their first text."""
    wholes = {task_digest(dict(task)) for task in training}
    texts = {text for task in training if (text := _first_text(task))}
    found = []
    for name, tasks in held_out.items():
        for task in tasks:
            whole = task_digest(dict(task)) in wholes
            if whole or _first_text(task) in texts:
                found.append(Duplicate(task_preview(dict(task)), name, whole))
    return found


def _first_text(task: Mapping[str, Any]) -> str:
    text = next((value for value in task.values() if isinstance(value, str)), "")
    return " ".join(text.split()).casefold()
