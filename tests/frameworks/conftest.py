"""Rollouts of a tiny random model, as a run makes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from framework_rollouts import RollOut

from agentscope_tuner import DatasetConfig, TunerModelConfig
from agentscope_tuner.build.models import build_rollouts
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.rollout.sampling import Sampling
from agentscope_tuner.trajectory import Rollout
from agentscope_tuner.workflow import WorkflowType


@pytest.fixture
def roll_out(tiny_model: Path, sums: Path) -> RollOut:
    """Run a workflow on two tasks, two rollouts each, all at once."""
    config = resolve(
        model=TunerModelConfig(model_path=str(tiny_model), max_model_len=512, max_tokens=40),
        train_dataset=DatasetConfig(path=str(sums)),
    )
    files = ModelFiles.find(config.trained_model().model_path)

    async def run(workflow: WorkflowType) -> list[Rollout]:
        rollouts = await build_rollouts(config, files, None, workflow, None)
        groups = await rollouts.rollout(
            [{"question": "1 + 1 ="}, {"question": "1 + 2 ="}],
            group_size=2,
            label="test",
            seed=0,
            sampling=Sampling(),
            on_done=lambda rollout: None,
        )
        await rollouts.close()
        return [rollout for group in groups for rollout in group.rollouts]

    return run
