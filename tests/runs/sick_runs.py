"""Runs made to be looked at by the doctor: a healthy one, and what makes it sick."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.runs.writer import RolloutWriter
from agentscope_tuner.trajectory import (
    Call,
    Rollout,
    RolloutError,
    RolloutGroup,
    Sampled,
    Segment,
    Trajectory,
)

WORDS = [
    "red",
    "green",
    "blue",
    "seven",
    "nine",
    "river",
    "stone",
    "cloud",
    "paper",
    "train",
    "light",
    "music",
    "garden",
    "winter",
    "mountain",
    "silver",
    "window",
    "market",
    "bridge",
    "candle",
    "forest",
    "orange",
    "harbour",
    "yellow",
    "planet",
]


def improving(step: int, task: int, sample: int) -> float:
    """Every group has both rewards, and a sample more of it is right in later steps."""
    return float(sample < 1 + (step + task) // 4 % 3 if step < 4 else sample < 2 + (task % 2))


def varied(random: Random, rollout: Rollout) -> str:
    """Words by chance."""
    return " ".join(random.choice(WORDS) for _ in range(14))


def untouched(step: int, rollout: Rollout) -> None:
    """Leave it as it is."""


@dataclass(frozen=True)
class RunOf:
    """How a run is made; as it stands, a healthy one."""

    steps: int = 8
    tasks: int = 6
    samples: int = 4
    reward: Callable[[int, int, int], float] = improving
    answer: Callable[[Random, Rollout], str] = varied
    change: Callable[[int, Rollout], None] = untouched
    """Changes a rollout of training after it was made."""
    metrics: Callable[[int], dict[str, float]] = lambda step: {}
    """Of a step, over the usual ones."""
    held_out: dict[int, float] = field(default_factory=lambda: {0: 0.3, 8: 0.8})
    """Step -> share of 40 held-out tasks that are solved."""
    status: str = "finished"

    def write(self, run: Path) -> Path:
        """Write it all."""
        run.mkdir(parents=True)
        RunState(self.status, self.steps, self.steps).save(run)  # type: ignore[arg-type]
        (run / "config.yaml").write_text(json.dumps({"name": run.name}))
        writer = RolloutWriter(run)
        with (run / "metrics.jsonl").open("w") as lines:
            for step in range(self.steps + 1):
                if step:
                    groups = [self._group(step, task) for task in range(self.tasks)]
                    writer.write(step, groups, None)
                    lines.write(json.dumps({"step": step, **self._numbers(step, groups)}) + "\n")
                if step in self.held_out:
                    writer.write(step, [self._held_out(step, task) for task in range(40)], "test")
        writer.close()
        return run

    def _group(self, step: int, task: int) -> RolloutGroup:
        name = f"step{step}-{task}"
        rollouts = []
        for sample in range(self.samples):
            rollout = self._rollout(f"{name}-{sample}", {"question": f"task {task} of {step}"})
            rollout.reward = self.reward(step, task, sample)
            self.change(step, rollout)
            rollouts.append(rollout)
        return RolloutGroup(name, rollouts[0].task, rollouts)

    def _held_out(self, step: int, task: int) -> RolloutGroup:
        rollout = self._rollout(f"eval-test-step{step}-{task}-0", {"question": f"held out {task}"})
        rollout.reward = float(task < 40 * self.held_out[step])
        return RolloutGroup(rollout.id[:-2], rollout.task, [rollout])

    def _rollout(self, name: str, task: dict[str, Any]) -> Rollout:
        random = Random(name)
        ids = [random.randrange(1000) for _ in range(random.randrange(20, 40))]
        sampled = Sampled([-0.5] * len(ids), [False] * len(ids), "policy", 0)
        rollout = Rollout(name, task, Trajectory(), seconds=2.0, judge_seconds=0.1)
        rollout.response = self.answer(random, rollout)
        asked = [{"role": "user", "content": task["question"]}]
        said = {"role": "assistant", "content": rollout.response}
        rollout.trajectory = Trajectory(
            [Segment(None, [1, 2, 3]), Segment(0, ids, sampled)],
            [Call(1, asked, None, said, "stop")],
        )
        return rollout

    def _numbers(self, step: int, groups: list[RolloutGroup]) -> dict[str, float]:
        rewards = [reward for group in groups for reward in group.rewards]
        return {
            "reward/mean": sum(rewards) / max(len(rewards), 1),
            "reward/min": min(rewards, default=0.0),
            "reward/max": max(rewards, default=0.0),
            "policy/entropy": 1.0 - 0.02 * step,
            "policy/kl_sampler_learner": 1e-4,
            "policy/grad_norm": 1.0 + 0.1 * (step % 3),
            "policy/lr": 1e-5,
            **self.metrics(step),
        }


def fail(kind: str) -> Callable[[int, Rollout], None]:
    """Every fourth rollout fails."""

    def change(step: int, rollout: Rollout) -> None:
        if rollout.id.endswith("-3"):
            rollout.reward = None
            trace = 'Traceback:\n  File "main.py", line 7, in judge\nValueError: bad'
            rollout.error = RolloutError(kind, "ValueError: bad \x1b[2J", trace)  # type: ignore[arg-type]

    return change
