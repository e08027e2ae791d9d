"""The taskset: batches of tasks in a selector's order, and a cursor that can be saved.

Batches are cut from one endless stream of epochs, so a batch that begins near the end of an epoch
goes on into the next one: nothing is dropped, and only the last batch of a run that is counted in
epochs may be short. With an epoch-wise selector every sample is then met exactly `total_epochs`
times.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from agentscope_tuner.errors import InputError
from agentscope_tuner.tasks.selectors import Selector

Task = dict[str, Any]
"""One sample as the workflow sees it."""


class Samples(Protocol):
    """A `datasets.Dataset`, or a list of dictionaries."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


def make_tasks(
    samples: Samples, indices: Sequence[int], workflow_args: Mapping[str, Any] | None = None
) -> list[Task]:
    """The samples at `indices` as tasks of their own: changing one changes no sample.

    `workflow_args` reach each task as `task["workflow_args"]`.
    Raises InputError if a sample has a field of that name already.
    """
    tasks = []
    for index in indices:
        task = copy.deepcopy(dict(samples[index]))
        if workflow_args:
            if "workflow_args" in task:
                raise InputError(
                    "The dataset has a field 'workflow_args', which the configuration's "
                    "workflow_args would replace: rename the field or leave them out."
                )
            task["workflow_args"] = copy.deepcopy(dict(workflow_args))
        tasks.append(task)
    return tasks


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """Some of the dataset's samples, as tasks."""

    indices: list[int]
    """Which samples they are; what `Taskset.update` wants to hear of."""
    tasks: list[Task]

    def __add__(self, other: TaskBatch) -> TaskBatch:
        return TaskBatch(self.indices + other.indices, self.tasks + other.tasks)


FINGERPRINTED = 10_000
"""Samples at most, evenly spread, that a dataset is known by."""


class Taskset:
    """Hands out the tasks of a run, batch after batch.

    `total_steps` overrides `total_epochs`; one of the two decides how long the run is.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        *,
        selector: Selector,
        total_epochs: int = 1,
        total_steps: int | None = None,
        workflow_args: Mapping[str, Any] | None = None,
    ) -> None:
        self.samples = samples
        self.batch_size = batch_size
        self.selector = selector
        self.workflow_args = workflow_args
        self.steps_taken = 0
        draws = len(samples) * total_epochs
        self.total_steps = -(-draws // batch_size) if total_steps is None else total_steps
        """How many batches there are in all."""
        self._draws = draws if total_steps is None else total_steps * batch_size

    def next_batch(self) -> TaskBatch:
        """The next `batch_size` tasks; empty when the run is over."""
        return self.batch_of(self.next_indices())

    def next_indices(self) -> list[int]:
        """Which samples the next `batch_size` tasks are; empty when the run is over."""
        left = self._draws - self.steps_taken * self.batch_size
        if left <= 0:
            return []
        self.steps_taken += 1
        return self.selector.take(min(self.batch_size, left))

    def further(self, count: int) -> TaskBatch:
        """So many tasks beyond those of the batches: the ones that the selector has next."""
        return self.batch_of(self.selector.take(count))

    def batch_of(self, indices: list[int]) -> TaskBatch:
        """The tasks of these samples, wherever the cursor stands."""
        return TaskBatch(indices, make_tasks(self.samples, indices, self.workflow_args))

    def update(self, indices: Sequence[int], rewards: Sequence[float | None]) -> None:
        """Tell the selector the mean reward of each sample's group (None: every rollout failed)."""
        means = {i: mean for i, mean in zip(indices, rewards, strict=True) if mean is not None}
        if means:
            self.selector.update(list(means), list(means.values()))

    @cached_property
    def fingerprint(self) -> str:
        """What the dataset is known by: a digest of its samples (of 10,000 of a larger one)."""
        digest = hashlib.sha256()
        step = max(1, len(self.samples) // FINGERPRINTED)
        for index in range(0, len(self.samples), step):
            sample = dict(self.samples[index])
            digest.update(json.dumps(sample, sort_keys=True, default=str).encode() + b"\n")
        return digest.hexdigest()

    def state_dict(self) -> dict[str, Any]:
        """Where the cursor stands, as plain JSON data."""
        return {
            "size": len(self.samples),
            "fingerprint": self.fingerprint,
            "steps_taken": self.steps_taken,
            "selector": self.selector.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken: the same tasks in the same order.

        Raises InputError if the dataset has changed since.
        """
        if state["size"] != len(self.samples):
            raise InputError(
                f"The run was begun with {state['size']} samples and the dataset has "
                f"{len(self.samples)} now: resume with the dataset it was begun with."
            )
        if state.get("fingerprint", self.fingerprint) != self.fingerprint:
            raise InputError(
                "The dataset has as many samples as when the run was begun, but not the same ones: "
                "resume with the dataset it was begun with."
            )
        self.steps_taken = state["steps_taken"]
        self.selector.load_state_dict(state["selector"])
