"""The guide's program in its 2.x form, and the prompt and model selection, with AgentScope 2.x."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from agentscope.message import UserMsg

from agentscope_tuner import DatasetConfig, JudgeOutput, WorkflowOutput, select_model
from agentscope_tuner.runs.rollouts import read_rollouts

ROOT = Path(__file__).parents[2]


def astuner(*arguments: str, directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "agentscope_tuner", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_guides_program_tunes(tmp_path: Path, sums: Path, tiny_model: Path) -> None:
    settings = {
        "buffer.explorer_input.taskset.path": sums,
        "buffer.explorer_input.eval_tasksets.0.path": sums,
        "model.model_path": tiny_model,
        "model.max_model_len": 256,
        "model.max_response_tokens": 4,
        "buffer.total_steps": 2,
        "buffer.batch_size": 2,
        "algorithm.repeat_times": 2,
        "name": "two",
    }
    given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    astuner("run", str(ROOT / "examples/agentscope2/main.py"), *given, directory=tmp_path)
    run = tmp_path / "checkpoints" / "AgentScope" / "two"
    rollouts = list(read_rollouts(run / "rollouts" / "step_1.jsonl.zst"))
    assert len(rollouts) == 4
    assert all(rollout.error is None for rollout in rollouts)
    # Rollouts of a task begin with the same prompt: no time of day is in it.
    first = {rollout.trajectory.segments[0].token_ids.__repr__() for rollout in rollouts[:2]}
    assert len(first) == 1
    versions = json.loads((run / "versions.json").read_text())
    assert str(versions["packages"]["agentscope"]).startswith("2.")
    assert (run / "global_step_2" / "model.safetensors").exists()


async def test_a_model_is_selected(tmp_path: Path, tiny_model: Path, sums: Path) -> None:
    async def ask(task: dict[str, Any], model: Any) -> WorkflowOutput:
        answer = await model([UserMsg(name="user", content=task["question"])], max_tokens=4)
        return WorkflowOutput(response=answer.content[0].text if answer.content else "")

    async def judge(task: dict[str, Any], response: dict[str, Any]) -> JudgeOutput:
        tokens = response["metrics"]["output_tokens"]
        return JudgeOutput(reward=tokens, metrics={"tokens": tokens})

    best, metrics = await select_model(
        workflow_func=ask,
        judge_func=judge,
        train_dataset=DatasetConfig(path=str(sums), total_steps=2),
        candidate_models=[str(tiny_model), str(tiny_model)],
    )
    assert best == str(tiny_model)
    assert 0 < metrics["tokens_avg"] <= 4
