"""Runs that learn from older rollouts, go on without slow tasks, or have nothing to compare."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agentscope.model import ChatModelBase

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    TuneResult,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path
from agentscope_tuner.tuning import Invocation, invoked_as
from attack.program import write_data

STEPS = 3
BUFFER = "buffer.trainer_input.experience_buffer"
REPLAY = (
    *(f"{BUFFER}.replay_buffer.enable=true", f"{BUFFER}.replay_buffer.reuse_cooldown_time=0"),
    "buffer.train_batch_size=9",
)


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    data = str(write_data(tmp_path / "data"))

    def tuned(workflow: Callable[..., Any], *settings: str) -> TuneResult:
        with invoked_as(Invocation(settings=settings)):
            return tune(
                workflow_func=workflow,
                model=TunerModelConfig(model_path=str(tiny_model), max_model_len=256, max_tokens=6),
                train_dataset=DatasetConfig(path=data, split="train", total_steps=STEPS),
                algorithm=AlgorithmConfig(
                    algorithm_type="grpo", group_size=3, batch_size=2, save_interval_steps=1
                ),
            )

    return tuned


async def ask(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    text = (await model([{"role": "user", "content": task["question"]}])).content[0]["text"]
    return WorkflowOutput(response=text, reward=len(set(text)) / 10)


asked: Counter[str] = Counter()


async def hang_at_seven_later(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    """Not in the first step, from which is known how long a rollout takes."""
    output = await ask(task, model)
    asked["rollouts"] += 1
    if task["question"].startswith("7 ") and asked["rollouts"] > 36:
        await asyncio.Event().wait()
    return output


async def one_of_three(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    """Only the first rollout of a group of three does not fail."""
    output = await ask(task, model)
    asked[task["question"]] += 1
    assert asked[task["question"]] % 3 == 1, "not the first"
    return output


def test_a_step_learns_from_older_groups_until_it_has_its_samples(run) -> None:
    records = read_metrics(run(ask, *REPLAY, "deterministic=true").run_directory / "metrics.jsonl")
    steps = [record for record in records if "train/tokens" in record]
    assert [record["replay/groups"] for record in steps] == [0, 1, 1]
    assert [record.get("replay/lag") for record in steps] == [None, 1, 1]


@pytest.mark.parametrize(
    ("settings", "left_out", "metric"),
    [
        (
            "explorer.over_rollout={ratio: 0.5, wait_after_min: 0.2}",
            "over_rollout",
            "rollout/unfinished",
        ),
        ("explorer.dynamic_timeout.enable=true", "", "rollout/limit_seconds"),
    ],
)
def test_a_step_goes_on_without_the_task_that_hangs(run, settings, left_out, metric) -> None:
    asked.clear()
    result = run(hang_at_seven_later, settings, "buffer.batch_size=12")
    assert result.finished
    records = read_metrics(result.run_directory / "metrics.jsonl")
    assert sum(record.get(metric, 0) for record in records) > 0
    for step in (2, 3):
        sevens = [
            rollout
            for rollout in read_rollouts(rollouts_path(result.run_directory, step))
            if rollout.task["question"].startswith("7 ")
        ]
        assert {(r.left_out, r.error.kind) for r in sevens} == {(left_out, "timeout")}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (("explorer.over_rollout.ratio=0.1",), "explorer.over_rollout.ratio a clock decides"),
        (("explorer.dynamic_timeout.enable=true",), "dynamic_timeout.enable a clock decides"),
        (
            (*REPLAY, f"{BUFFER}.replay_buffer.reuse_cooldown_time=4"),
            "reuse_cooldown_time.*a clock decides",
        ),
    ],
)
def test_where_a_clock_decides_a_run_cannot_be_deterministic(run, settings, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        run(ask, "deterministic=true", *settings)


def test_replay_says_how_many_samples_it_needs_to_know(run) -> None:
    with pytest.raises(InputError, match=r"fills a step up to buffer\.train_batch_size"):
        run(ask, *REPLAY[:2])


def test_groups_of_one_that_failures_leave_are_not_silent(
    run, caplog: pytest.LogCaptureFixture
) -> None:
    asked.clear()
    with caplog.at_level(logging.WARNING):
        result = run(one_of_three, "explorer.max_retry_times=0")
    assert result.metrics["group/single"] == 2
    said = [record.getMessage() for record in caplog.records]
    assert any(
        "Step 3 taught nothing: grpo compares the rollouts of a group" in one for one in said
    )
