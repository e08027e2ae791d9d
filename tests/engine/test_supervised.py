"""Supervised tuning: `tune(algorithm_type="sft")` on conversations, with a tiny random model."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from agentscope.model import ChatModelBase
from rich.console import Console

from agentscope_tuner import AlgorithmConfig, DatasetConfig, TunerModelConfig, WorkflowOutput, tune
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.console import ConsoleMonitor
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path


def conversation(number: int) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": f"What is {number} + 1?"},
        {"role": "assistant", "content": f"It is {number + 1}."},
    ]


def write(directory: Path, conversations: list[list[dict[str, Any]]]) -> Path:
    path = directory / "conversations.jsonl"
    path.write_text("\n".join(json.dumps({"messages": messages}) for messages in conversations))
    return path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def arguments(model: Path, data: Path, *, steps: int = 6, **more: Any) -> dict[str, Any]:
    return {
        "model": TunerModelConfig(model_path=str(model), max_model_len=128, max_tokens=8),
        "train_dataset": DatasetConfig(path=str(data), total_steps=steps),
        "algorithm": AlgorithmConfig(algorithm_type="sft", batch_size=4, learning_rate=1e-2),
        "monitor_type": "none",
        **more,
    }


def test_the_loss_falls_and_nothing_is_rolled_out(tiny_model: Path, tmp_path: Path) -> None:
    data = write(tmp_path, [conversation(number) for number in range(8)])
    result = tune(**arguments(tiny_model, data))
    records = read_metrics(result.run_directory / "metrics.jsonl")
    losses = [record["policy/loss"] for record in records]
    assert len(losses) == 6
    assert losses[-1] < losses[0] - 1
    assert not any(key.startswith(("reward/", "rollout/")) for record in records for key in record)
    assert {"train/tokens", "throughput/trained_tokens_per_s", "time/step"} <= records[0].keys()
    assert result.checkpoint is not None
    assert (result.checkpoint / "model.safetensors").is_file()


def test_what_was_imitated_can_be_looked_at(tiny_model: Path, tmp_path: Path) -> None:
    data = write(tmp_path, [conversation(number) for number in range(4)])
    result = tune(**arguments(tiny_model, data, steps=1))
    rollouts = read_rollouts(rollouts_path(result.run_directory, 1))
    answers = {rollout.trajectory.calls[0].response["content"] for rollout in rollouts}
    assert answers == {"It is 1.", "It is 2.", "It is 3.", "It is 4."}
    assert result.metrics["train/tokens"] == sum(r.trajectory.sampled_tokens for r in rollouts)


def test_an_evaluation_runs_the_workflow(tiny_model: Path, tmp_path: Path) -> None:
    async def workflow(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
        answer = await model([{"role": "user", "content": task["messages"][0]["content"]}])
        return WorkflowOutput(reward=float(len(answer.content) > 0))

    data = write(tmp_path, [conversation(number) for number in range(4)])
    sets = {"held-out": DatasetConfig(path=str(data))}
    result = tune(**arguments(tiny_model, data, steps=1), workflow_func=workflow, eval_dataset=sets)
    records = read_metrics(result.run_directory / "metrics.jsonl")
    assert ["eval/held-out/reward/mean" in record for record in records] == [True, False, True]


def test_an_evaluation_without_a_workflow_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    data = write(tmp_path, [conversation(0)])
    with pytest.raises(InputError, match="eval_dataset needs a workflow_func"):
        tune(**arguments(tiny_model, data), eval_dataset=DatasetConfig(path=str(data)))


def test_reinforcement_without_a_workflow_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    data = write(tmp_path, [conversation(0)])
    with pytest.raises(InputError, match="needs a workflow_func"):
        tune(**arguments(tiny_model, data) | {"algorithm": AlgorithmConfig()})


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ([{"role": "robot", "content": "Hi."}], "messages.0.role"),
        ([{"role": "user", "content": "Hi."}], "no assistant message"),
        (
            [{"role": "user", "content": "Hi. " * 80}, {"role": "assistant", "content": "Hi."}],
            "max_model_len is 128",
        ),
    ],
)
def test_a_bad_sample_is_named_before_anything_is_learnt(
    tiny_model: Path, tmp_path: Path, bad: list[dict[str, Any]], why: str
) -> None:
    data = write(tmp_path, [conversation(0), conversation(1), bad])
    with pytest.raises(InputError, match=rf"Sample 2 of the dataset.*{why}"):
        tune(**arguments(tiny_model, data))
    assert not list(tmp_path.glob("checkpoints/**/metrics.jsonl"))


def test_the_terminal_shows_a_loss_where_there_is_no_reward() -> None:
    output = io.StringIO()
    monitor = ConsoleMonitor(Console(file=output, width=120))
    monitor.start(2, Path("run"))
    monitor.log({"policy/loss": 0.5, "time/step": 1.0}, 1)
    assert "loss 0.500" in output.getvalue()
    assert "failed" not in output.getvalue()
