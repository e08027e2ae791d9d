"""`config_path`: a Trinity-style YAML runs as the arguments of `tune()` do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from agentscope.message import Msg
from agentscope.model import ChatModelBase

from agentscope_tuner import AlgorithmConfig, JudgeOutput, WorkflowOutput, tune

YAML = """
project: "Yaml"
name: "first"
checkpoint_root_dir: ${oc.env:ASTUNER_TEST_ROOT,./checkpoints}
algorithm:
  algorithm_type: multi_step_grpo
  repeat_times: 2
  optimizer:
    lr: 1.0e-5
model:
  model_path: ${oc.env:ASTUNER_TEST_MODEL,Qwen/Qwen3-0.6B}
  max_model_len: 128
cluster:
  node_num: 1
  gpu_per_node: 2
buffer:
  total_steps: 2
  batch_size: 2
  explorer_input:
    taskset:
      path: ${oc.env:ASTUNER_TEST_DATA}
      split: train
      rollout_args:
        max_tokens: 6
explorer:
  eval_interval: 10
  runner_per_model: 16
  max_timeout: 600
  rollout_model:
    engine_num: 1
    tensor_parallel_size: 1
    enable_prefix_caching: false
    enforce_eager: true
    enable_openai_api: true
    enable_history: true
    tool_call_parser: hermes
    reasoning_parser: deepseek_r1
synchronizer:
  sync_method: nccl
  sync_interval: 1
trainer:
  save_interval: 10
monitor:
  monitor_type: tensorboard
"""


async def ask(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    answer = await model([{"role": "user", "content": task["question"]}])
    return WorkflowOutput(response=Msg("agent", answer.content, "assistant"))


async def judge(task: dict[str, Any], response: Msg) -> JudgeOutput:
    return JudgeOutput(reward=float(len(response.get_text_content() or "")))


@pytest.fixture
def config_path(
    tmp_path: Path, tiny_model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setenv("ASTUNER_TEST_ROOT", str(tmp_path / "runs"))
    monkeypatch.setenv("ASTUNER_TEST_MODEL", str(tiny_model))
    monkeypatch.setenv("ASTUNER_TEST_DATA", str(sums))
    path = tmp_path / "config.yaml"
    path.write_text(YAML)
    return path


def test_a_yaml_runs_and_names_the_keys_that_mean_nothing_here(
    config_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tune(workflow_func=ask, judge_func=judge, config_path=config_path)
    assert result.run_directory == tmp_path / "runs" / "Yaml" / "first"
    assert result.checkpoint is not None
    assert result.metrics["rollout/count"] == 4
    assert result.metrics["rollout/response_tokens/max"] <= 6
    said = capsys.readouterr().out
    for key in ("enforce_eager", "gpu_per_node", "sync_method"):
        assert key in said


def test_only_arguments_that_were_set_override_the_yaml(config_path: Path) -> None:
    result = tune(
        workflow_func=ask,
        judge_func=judge,
        config_path=config_path,
        algorithm=AlgorithmConfig(group_size=3),
    )
    assert result.metrics["rollout/count"] == 6
    assert result.metrics["policy/lr"] == pytest.approx(1e-5)
