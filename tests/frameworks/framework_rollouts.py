"""What every framework's test does: roll a workflow out, and look at what was recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from agentscope_tuner.trajectory import Rollout
from agentscope_tuner.workflow import WorkflowType

RollOut = Callable[[WorkflowType], Awaitable[list[Rollout]]]


def assert_one_conversation(rollout: Rollout, calls: int) -> None:
    """`calls` calls on one branch, all of its own task, with every sampled token recorded."""
    assert rollout.error is None, rollout.error.traceback
    trajectory = rollout.trajectory
    assert [call.branch for call in trajectory.calls] == [None] * calls
    assert len(trajectory.leaves()) == 1
    for call in trajectory.calls:
        [question, *_] = [m["content"] for m in call.messages if m["role"] == "user"]
        assert question == rollout.task["question"]
        sampled = trajectory.segments[call.segment]
        assert sampled.sampled is not None
        assert len(sampled.token_ids) == len(sampled.sampled.logprobs) > 0
