"""What the rules look at: a run's numbers, by step and by rollout."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import isnan, nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.errors import InputError
from agentscope_tuner.rollout.estimate import Estimate
from agentscope_tuner.runs.diagnosis.finding import Seen
from agentscope_tuner.runs.estimates import clustered
from agentscope_tuner.runs.files import RunFiles

WINDOW = 3
"""Steps that make a beginning or an end."""
SAMPLED_GROUPS = 16
SAMPLED_BYTES = 2 << 20
"""Groups of a step whose texts are read, and their compressed bytes: the rules stay quick."""
_PREVIEW = 120

Rows = NDArray[np.int64]


class Case:
    """One run as its files have it now."""

    def __init__(self, files: RunFiles, *, over: bool) -> None:
        """`over`: the run has ended; what is only known at the end is not said before."""
        files.table.refresh()
        self.files = files
        self.table = files.table
        self.columns = files.table.columns
        self.over = over
        self.training = [
            record
            for record in files.records()
            if any(not key.startswith(("eval/", "step")) for key in record)
        ]
        """The lines of training steps, in order."""

    @cached_property
    def total_steps(self) -> int:
        """That the run has been asked for; those it has done if its state is lost."""
        try:
            state = RunState.load(self.files.directory)
        except InputError:
            state = None
        return len(self.training) if state is None else state.total_steps

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """`config.yaml`, flat."""
        return self.files.configuration()

    def values(self, key: str) -> list[tuple[int, float]]:
        """Step and value of a training metric, where it is a number."""
        found = ((int(record["step"]), record.get(key, nan)) for record in self.training)
        return [(step, value) for step, value in found if not isnan(value)]

    def recent(self, key: str, count: int = WINDOW) -> list[tuple[int, float]]:
        """The last `count` of `values`; empty if there are not that many."""
        values = self.values(key)
        return values[-count:] if len(values) >= count else []

    @cached_property
    def steps(self) -> list[int]:
        """Training steps that have rollouts."""
        return np.unique(self.columns["step"][self.columns["set"] == 0]).tolist()

    @cached_property
    def early(self) -> list[int]:
        """The steps of the beginning; as many as there are at the end, and none of them twice."""
        return self.steps[: min(WINDOW, len(self.steps) // 2)]

    @cached_property
    def late(self) -> list[int]:
        """The steps of the end."""
        return self.steps[len(self.steps) - len(self.early) :]

    def rows(self, steps: Sequence[int]) -> Rows:
        """Training's rollouts of these steps."""
        return np.flatnonzero(np.isin(self.columns["step"], steps) & (self.columns["set"] == 0))

    def reward(self, steps: Sequence[int]) -> Estimate:
        """The mean reward of training in these steps, its error by task."""
        rows = self.rows(steps)
        return clustered(self.columns["reward"][rows], self.columns["task"][rows])

    @cached_property
    def reward_change(self) -> Estimate:
        """Of training, from the beginning to the end."""
        return self.reward_between(self.early, self.late)

    def reward_between(self, early: Sequence[int], late: Sequence[int]) -> Estimate:
        """The change of training's mean reward from some steps to others."""
        before, after = self.reward(early), self.reward(late)
        error = sqrt(before.standard_error**2 + after.standard_error**2)
        return Estimate(after.mean - before.mean, error)

    @property
    def reward_rose(self) -> bool:
        """Whether it did, beyond two standard errors."""
        change = self.reward_change
        return change.mean > 2 * change.standard_error  # False for NaN

    def groups(self, rows: Rows) -> NDArray[np.int64]:
        """Which group each row belongs to, by number: a step's rollouts of one task.

        A task that is twice in one step counts as one group here.
        """
        keys = np.stack([self.columns["step"][rows], self.columns["task"][rows]])
        return np.unique(keys, axis=1, return_inverse=True)[1].reshape(-1)

    @cached_property
    def first_sample(self) -> list[tuple[int, dict[str, Any]]]:
        """Row and stored content of rollouts of the first step."""
        return self._sample(self.steps[:1])

    @cached_property
    def last_sample(self) -> list[tuple[int, dict[str, Any]]]:
        """Row and stored content of rollouts of the last step."""
        return self._sample(self.steps[1:][-1:])

    def seen(self, rows: Sequence[int], says: Sequence[str] = ()) -> tuple[Seen, ...]:
        """The rollouts of these rows."""
        lines = self.table.lines(rows)
        texts = [*says, *[""] * (len(lines) - len(says))]
        return tuple(
            Seen(line["id"], line["step"], line["set"], text)
            for line, text in zip(lines, texts, strict=True)
        )

    def _sample(self, steps: Sequence[int]) -> list[tuple[int, dict[str, Any]]]:
        rows, kept = self.rows(steps), []
        if not len(rows):
            return []
        frames: set[tuple[str, int]] = set()
        size = 0
        for row, line in zip(rows.tolist(), self.table.lines(rows), strict=True):
            frame = (line["file"], line["offset"])
            if frame not in frames:
                size += line["length"]
                if frames and (len(frames) == SAMPLED_GROUPS or size > SAMPLED_BYTES):
                    break
                frames.add(frame)
            kept.append(row)
        return list(zip(kept, self.files.stored(kept), strict=True))


def answer(stored: dict[str, Any]) -> str:
    """What the rollout answered: its response, or the model's last words."""
    calls = stored["trajectory"]["calls"]
    said = calls[-1]["response"].get("content") if calls else ""
    return stored["response"] or (said if isinstance(said, str) else "")


def preview(text: str) -> str:
    """A text in a line, quoted."""
    line = " ".join(text.split())
    return f"{line[:_PREVIEW]!r}" + ("…" if len(line) > _PREVIEW else "")


def span(steps: Sequence[int]) -> str:
    """`step 3`, `steps 3 to 5`."""
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"
