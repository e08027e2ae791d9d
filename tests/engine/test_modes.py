"""Runs that sample without training, and how a dataset's rollouts are drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentscope_tuner import JudgeOutput, TuneResult, WorkflowOutput, tune
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.rollouts import read_rollouts, rollouts_path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tasks.jsonl").write_text("\n".join(json.dumps({"q": f"{n}"}) for n in range(4)))


async def ask(task: dict[str, Any], model: Any) -> WorkflowOutput:
    answer = await model([{"role": "user", "content": task["q"]}])
    return WorkflowOutput(response=answer.content[0]["text"] if answer.content else "")


async def measure(task: dict[str, Any], response: str) -> JudgeOutput:
    return JudgeOutput(reward=float(len(response)))


def run(model: Path, **sections: Any) -> TuneResult:
    taskset = {"path": str(Path("tasks.jsonl").absolute()), **sections.pop("taskset", {})}
    tree = {
        "model": {"model_path": str(model), "max_model_len": 64, "max_response_tokens": 8},
        "algorithm": {"algorithm_type": "grpo", "repeat_times": 2},
        "buffer": {"batch_size": 2, "total_steps": 2, "explorer_input": {"taskset": taskset}},
        "monitor": {"monitor_type": "none"},
        **sections,
    }
    Path("config.yaml").write_text(json.dumps(tree))
    return tune(workflow_func=ask, judge_func=measure, config_path="config.yaml")


def texts(result: TuneResult, step: int) -> list[str]:
    rollouts = read_rollouts(rollouts_path(result.run_directory, step))
    return [rollout.response for rollout in sorted(rollouts, key=lambda rollout: rollout.id)]


def test_explore_samples_and_records_without_training(tiny_model: Path) -> None:
    explored, trained = run(tiny_model, mode="explore"), run(tiny_model)
    assert explored.finished
    assert explored.checkpoint is None
    assert not list(explored.run_directory.glob("global_step_*"))
    first, second = read_metrics(explored.run_directory / "metrics.jsonl")
    assert not any(name.startswith(("policy/", "train/")) for name in {**first, **second})
    # Before anything is learnt, a run that trains draws the same.
    assert texts(explored, 1) == texts(trained, 1)
    assert len(texts(explored, 2)) == 4


def test_bench_evaluates_and_needs_no_dataset_to_learn_from(tiny_model: Path) -> None:
    evaluated = {"name": "held_out", "path": str(Path("tasks.jsonl").absolute())}
    buffer = {"explorer_input": {"eval_tasksets": [evaluated]}}
    result = run(tiny_model, mode="bench", buffer=buffer)
    (record,) = read_metrics(result.run_directory / "metrics.jsonl")
    assert record["step"] == 0
    assert record["eval/held_out/reward/mean"] == result.metrics["eval/held_out/reward/mean"]
    with pytest.raises(InputError, match="give tune\\(\\) an eval_dataset"):
        run(tiny_model, mode="bench")


def test_a_run_without_training_is_not_gone_on_with(tiny_model: Path) -> None:
    run(tiny_model, mode="explore", name="first")
    with pytest.raises(InputError, match="first is finished"):
        run(tiny_model, mode="explore", name="first")


def test_one_likeliest_token_leaves_nothing_to_draw(tiny_model: Path) -> None:
    result = run(tiny_model, mode="explore", taskset={"rollout_args": {"top_k": 1}})
    for step in (1, 2):
        one, other, *_ = texts(result, step)
        assert one == other
    assert len(set(texts(run(tiny_model, mode="explore"), 1))) > 2
