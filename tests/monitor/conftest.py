from __future__ import annotations

from pathlib import Path

import pytest

from agentscope_tuner.monitor.base import RunInfo
from agentscope_tuner.trajectory import Call, Rollout, RolloutError, Segment, Trajectory


@pytest.fixture
def run(tmp_path: Path) -> RunInfo:
    """A run from the beginning."""
    hyperparameters = {"algorithm": "multi_step_grpo", "optimizer.lr": 1e-5, "seed": None}
    return RunInfo("project", "name", tmp_path / "run", hyperparameters)


@pytest.fixture
def rollouts() -> list[Rollout]:
    """One with a tool call and a reward, one that failed before its first model call."""
    question = {"role": "user", "content": [{"type": "text", "text": "What is 2 + 3?"}]}
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    asks = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c", "content": "5"}
    answer = {"role": "assistant", "content": "It is 5."}
    trajectory = Trajectory(
        [Segment(None, [1, 2])], [Call(0, [question, asks, result], None, answer, "stop")]
    )
    return [
        Rollout("a", {}, trajectory, reward=1.0),
        Rollout("b", {}, Trajectory(), error=RolloutError("workflow", "KeyError: 'x'")),
    ]
