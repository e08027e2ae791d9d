"""What a step's rollouts come to in numbers."""

from __future__ import annotations

from agentscope_tuner.rollout.metrics import summarize
from agentscope_tuner.trajectory import (
    Call,
    Rollout,
    RolloutError,
    RolloutGroup,
    Sampled,
    Segment,
    Trajectory,
)


def conversation(*turns: int, branch: str | None = None, finish: str = "stop") -> Trajectory:
    """Prompts of four tokens each, answered by this many tokens."""
    trajectory = Trajectory()
    for tokens in turns:
        parent = len(trajectory.segments) - 1 if trajectory.segments else None
        trajectory.segments.append(Segment(parent, [1] * 4))
        drawn = Sampled([-1.0] * tokens, [False] * tokens, "m", 0)
        trajectory.segments.append(Segment(len(trajectory.segments) - 1, [2] * tokens, drawn))
        trajectory.calls.append(Call(len(trajectory.segments) - 1, [], None, {}, finish))
    trajectory.calls[-1].branch = branch
    return trajectory


def group(*rollouts: Rollout) -> RolloutGroup:
    return RolloutGroup("g", {}, list(rollouts))


def test_rewards_and_conversations_are_averaged():
    metrics = summarize(
        [
            group(
                Rollout("0", {}, conversation(10), reward=1.0, seconds=1.0),
                Rollout("1", {}, conversation(20, 30, branch="tools_changed"), reward=0.0),
            )
        ]
    )
    assert metrics["reward/mean"] == 0.5
    assert metrics["reward/std"] == 0.5
    assert (metrics["reward/min"], metrics["reward/max"]) == (0.0, 1.0)
    assert metrics["rollout/turns"] == 1.5
    assert metrics["rollout/response_tokens"] == 30
    assert metrics["rollout/response_tokens/max"] == 50
    assert metrics["rollout/prompt_tokens"] == 6
    assert metrics["rollout/branches"] == 1
    assert metrics["rollout/branches/tools_changed"] == 1
    assert metrics["rollout/seconds"] == 0.5
    assert metrics["rollout/seconds/max"] == 1.0
    assert metrics["group/uniform"] == 0


def test_time_in_which_several_calls_are_answered_counts_once():
    trajectories = [conversation(1, 1), conversation(1)]
    spans = [(10.0, 2.0), (15.0, 1.0), (11.0, 3.0)]
    calls = [call for trajectory in trajectories for call in trajectory.calls]
    for call, span in zip(calls, spans, strict=True):
        call.began, call.seconds = span
    rollouts = [Rollout(str(i), {}, t, reward=0.0) for i, t in enumerate(trajectories)]
    assert summarize([group(*rollouts)])["rollout/seconds/calling"] == 5.0
    assert summarize([group()])["rollout/seconds/calling"] == 0.0


def test_every_failed_rollout_is_counted_by_kind_and_none_enters_the_reward():
    metrics = summarize(
        [
            group(
                Rollout("0", {}, conversation(1), error=RolloutError("judge", "m"), attempts=3),
                Rollout("1", {}, Trajectory(), error=RolloutError("timeout", "m")),
                Rollout("2", {}, conversation(1, finish="length"), reward=1.0),
            )
        ]
    )
    assert metrics["rollout/count"] == 3
    assert metrics["rollout/failed"] == 2
    assert metrics["rollout/failed/judge"] == 1
    assert metrics["rollout/failed/timeout"] == 1
    assert metrics["rollout/failed/model"] == 0
    assert metrics["rollout/retries"] == 2
    assert metrics["rollout/truncated"] == 1
    assert metrics["reward/mean"] == 1.0
    assert metrics["group/uniform"] == 1


def test_a_step_in_which_all_failed_has_no_reward_but_all_counts():
    metrics = summarize([group(Rollout("0", {}, Trajectory(), error=RolloutError("model", "m")))])
    assert not any(key.startswith("reward/") for key in metrics)
    assert metrics["rollout/failed"] == 1


def test_the_users_metrics_are_means_over_the_rollouts_that_report_them():
    metrics = summarize(
        [
            group(
                Rollout("0", {}, Trajectory(), reward=1.0, metrics={"workflow/a": 1.0}),
                Rollout(
                    "1", {}, Trajectory(), reward=1.0, metrics={"workflow/a": 2.0, "judge/b": 5}
                ),
                Rollout("2", {}, Trajectory(), reward=1.0),
            )
        ]
    )
    assert metrics["workflow/a"] == 1.5
    assert metrics["judge/b"] == 5.0
    assert all(type(value) is float for value in metrics.values())
