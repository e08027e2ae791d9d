"""Weights & Biases.

`WANDB_MODE` and the login are W&B's own. Where neither is there, the run is recorded offline in
`monitor/wandb/`, and `wandb sync` uploads it later.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import wandb

from agentscope_tuner.monitor.base import RunInfo
from agentscope_tuner.monitor.conversation import as_markdown
from agentscope_tuner.monitor.tracked import TrackedRun
from agentscope_tuner.trajectory import Rollout


class WeightsAndBiases:
    """Scalars by step, hyper-parameters as the run's config, sample conversations as a table."""

    _tracked: TrackedRun
    _run: wandb.Run

    def start(self, run: RunInfo) -> None:
        """Begin a run at W&B, or go on with the one that this run directory belongs to."""
        self._tracked = TrackedRun(run, "wandb")
        decided = "WANDB_MODE" in os.environ or wandb.login(prompt=False, verify=False)
        self._run = wandb.init(
            project=run.project,
            name=run.name,
            id=self._tracked.id,
            resume="allow",
            dir=self._tracked.directory.parent,  # W&B adds `wandb` itself
            mode=None if decided else "offline",
            config=dict(run.hyperparameters),
            settings=wandb.Settings(console="off", quiet=True),
        )
        self._tracked.begin(self._run.id)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        if self._tracked.is_news(step):
            self._run.log(dict(metrics), step=step)
            self._tracked.told(step)

    def samples(self, rollouts: Sequence[Rollout], step: int, name: str = "samples") -> None:
        if self._tracked.is_news(step):
            rows = [[rollout.id, rollout.reward, as_markdown(rollout)] for rollout in rollouts]
            table = wandb.Table(["rollout", "reward", "conversation"], rows)
            self._run.log({name: table}, step=step)

    def close(self) -> None:
        self._run.finish()
