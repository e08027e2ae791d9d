"""`astuner plan`: what a run will take, from what its first steps took.

Everything here is arithmetic; `commands.planning` measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentscope_tuner.inference.memory import Needs, total


@dataclass(frozen=True, slots=True)
class Measured:
    """What the first steps of the run took, with its models and its shapes."""

    loading_s: float
    """Seconds before the first step."""
    first_step_s: float
    """Of the first step, in which kernels and caches warm up."""
    step_s: float
    """Of the step after it."""
    phases_s: Mapping[str, float]
    """Of `step_s`: `rollout`, `judge` (a part of `rollout`), `train`, `sync`."""
    teaching: float
    """Share of that step's sampled tokens that its update was computed from: those of groups that
    the algorithm learns something from."""
    all_teach_s: float
    """What `train` takes if all do, measured in a step of its own."""
    save_s: float
    """Of a checkpoint."""
    rollouts: int
    """Of a step."""
    response_tokens: float
    """Mean of a rollout."""
    longest: float
    """How many times as many tokens an answer may have as they had on average; at least 1."""
    peak_bytes: float
    """Of memory, beyond what was taken before, when further steps took no more."""
    evaluation_bytes: float
    """What the keys and values of an evaluation take beyond that; none was run."""
    checkpoint_bytes: int
    rollout_bytes: float
    """On disk, a rollout."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will take, and whether there is as much."""

    steps: int
    evaluated: int
    """Rollouts of all evaluations together."""
    saves: int
    kept: int
    """Checkpoints that are on disk at the end."""
    needs: Needs
    """Bytes of the models, from their numbers of parameters."""
    with_adapters: Needs
    """The same with adapters of rank 16 in place of full tuning."""
    free_bytes: float
    """Of memory, before anything was loaded."""
    disk_free_bytes: float
    device: str
    keys: Mapping[str, Any]
    """Configuration keys that the advice is about, as they are."""
    measured: Measured | None
    """None: nothing was loaded, as the models alone do not fit."""

    @property
    def memory_bytes(self) -> float:
        """The measured peak with an evaluation's, or the estimate if nothing was measured."""
        if (m := self.measured) is None:
            return total(self.needs)
        return m.peak_bytes + m.evaluation_bytes

    @property
    def disk_bytes(self) -> float:
        """Checkpoints and rollouts at the end of the run; 0 if nothing was measured."""
        if (m := self.measured) is None:
            return 0.0
        rollouts = self.steps * m.rollouts + self.evaluated
        return self.kept * m.checkpoint_bytes + rollouts * m.rollout_bytes

    @property
    def hours(self) -> float:
        """With answers as long as now, of which as many teach."""
        if (m := self.measured) is None:
            return 0.0
        return self._seconds(m, 1.0, m.phases_s["train"]) / 3600

    @property
    def hours_at_most(self) -> float:
        """If every answer came to take all the tokens that it may, and every group to teach."""
        if (m := self.measured) is None:
            return 0.0
        train_s = max(m.phases_s["train"], m.all_teach_s)
        return self._seconds(m, m.longest, m.longest * train_s) / 3600

    @property
    def fits(self) -> bool:
        """Whether there is memory and disk for it."""
        return self.memory_bytes <= self.free_bytes and self.disk_bytes <= self.disk_free_bytes

    def advice(self) -> list[str]:
        """What would take less, a line each."""
        lines = []
        if not self.keys["model.lora.rank"]:
            lines.append(
                f"memory: model.lora.rank=16 takes {gigabytes(total(self.with_adapters))} for the "
                f"models in place of {gigabytes(total(self.needs))} (estimated)"
            )
        if (m := self.measured) is None:
            return lines
        phase = max(("rollout", "train"), key=lambda name: m.phases_s[name])
        share = m.phases_s[phase] / m.step_s
        batch = self.keys["buffer.batch_size"]
        if batch > 1:
            lines.append(
                f"time: {phase} is {share:.0%} of a step; buffer.batch_size={batch // 2} takes "
                "about half of it"
            )
        if self.kept > 1:
            lines.append(
                f"disk: trainer.keep_last=1 keeps {gigabytes(m.checkpoint_bytes)} of checkpoints "
                f"in place of {gigabytes(self.kept * m.checkpoint_bytes)}"
            )
        return lines

    def _seconds(self, m: Measured, longer: float, train_s: float) -> float:
        others = m.step_s - m.phases_s["rollout"] - m.phases_s["train"]
        step = others + longer * m.phases_s["rollout"] + train_s
        evaluating = longer * m.phases_s["rollout"] * self.evaluated / max(m.rollouts, 1)
        warming = m.first_step_s - m.step_s
        return m.loading_s + warming + self.steps * step + evaluating + self.saves * m.save_s


def times(steps: int, interval: int) -> int:
    """How often something happens that is done every `interval` steps, and after the last."""
    return -(-steps // interval)


def gigabytes(amount: float) -> str:
    """`1.25 GB`."""
    return f"{amount / 1e9:.2f} GB"
