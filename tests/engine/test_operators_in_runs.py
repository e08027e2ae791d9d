"""Operators in runs: what is left out is recorded, not learnt from, and replaced where asked."""

from __future__ import annotations

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
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path
from agentscope_tuner.tuning import Invocation, invoked_as
from attack.program import write_data
from attack.sameness import differences

STEPS = 3
OPERATORS = "data_processor.experience_pipeline.operators"


async def ask(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    """Every third task is answered right now and then, the others never."""
    response = await model([{"role": "user", "content": task["question"]}])
    text = response.content[0]["text"]
    number = int(task["question"].split()[0])
    return WorkflowOutput(response=text, reward=float(number % 3 == 0 and len(text) % 2 == 0))


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    data = str(write_data(tmp_path / "data"))

    def tuned(name: str, *settings: str) -> TuneResult:
        with invoked_as(Invocation(settings=settings)):
            return tune(
                workflow_func=ask,
                model=TunerModelConfig(model_path=str(tiny_model), max_model_len=256, max_tokens=6),
                train_dataset=DatasetConfig(path=data, split="train", total_steps=STEPS),
                algorithm=AlgorithmConfig(
                    algorithm_type="grpo",
                    group_size=4,
                    batch_size=2,
                    learning_rate=1e-3,
                    save_interval_steps=1,
                ),
                experiment_name=name,
            )

    return tuned


REFILL = f"{OPERATORS}=[{{name: dapo_dynamic_sampling}}]"


def test_a_step_draws_tasks_until_it_has_as_many_groups_as_it_should(run) -> None:
    shape = ("deterministic=true", REFILL, "synchronizer.sync_offset=1")
    directory = run("refilled", *shape).run_directory
    for step in range(1, STEPS + 1):
        rollouts = read_rollouts(rollouts_path(directory, step))
        kept = {r.id.rpartition("-")[0] for r in rollouts if not r.left_out}
        assert len(kept) == 2
        assert len(rollouts) > 8
        assert any(r.id.startswith(f"step{step}-more1-") for r in rollouts)
        for rollout in rollouts:
            assert (rollout.advantage is None) == bool(rollout.left_out)
    record = read_metrics(directory / "metrics.jsonl")[0]
    assert record["operator/dapo_dynamic_sampling/left_out"] == record["rollout/count"] - 8

    again = run("turns", *shape, "synchronizer.overlap=false").run_directory
    assert differences(directory, again) == {}


def test_where_nothing_is_left_to_learn_from_the_weights_stay(run) -> None:
    nothing = f"{OPERATORS}=[{{name: reward_filter, args: {{threshold: 2}}}}]"
    result = run("nothing", nothing)
    assert result.finished
    assert result.metrics["train/tokens"] == 0
    assert result.metrics["operator/reward_filter/left_out"] == 8
