"""Every key of a Trinity-style YAML has one of three outcomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentscope_tuner.config.keys import Key, Outcome, keys_of
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.config.schema import Config, notices
from agentscope_tuner.errors import InputError

_DATASET = """
storage_type path subset_name split rollout_args.temperature rollout_args.top_p
rollout_args.max_tokens workflow_args name data_selector.selector_type data_selector.feature_keys
data_selector.kwargs
"""
_INFERENCE = """
engine_num tensor_parallel_size gpu_memory_utilization max_model_len enable_prefix_caching
enforce_eager dtype seed enable_thinking enable_openai_api enable_history enable_auto_tool_choice
tool_call_parser reasoning_parser
"""
TRINITY_KEYS = {
    "": "project name checkpoint_root_dir",
    "algorithm": """algorithm_type repeat_times optimizer.lr advantage_fn advantage_fn_args
        policy_loss_fn policy_loss_fn_args loss_agg_mode kl_loss_fn kl_loss_fn_args.kl_coef
        kl_penalty_fn kl_penalty_fn_args.kl_coef entropy_loss_fn""",
    "model": """model_path max_model_len max_prompt_tokens max_response_tokens temperature top_p
        tinker.enable""",
    "cluster": "node_num gpu_per_node ray_address",
    "buffer": "total_epochs total_steps batch_size train_batch_size",
    "buffer.explorer_input.taskset": _DATASET,
    "buffer.explorer_input.eval_tasksets.0": _DATASET,
    "buffer.trainer_input.experience_buffer": """name storage_type max_read_timeout
        replay_buffer.enable replay_buffer.priority_fn replay_buffer.priority_fn_args""",
    "data_processor.experience_pipeline.operators.0": "name args",
    "explorer": """runner_per_model max_timeout max_retry_times max_repeat_times_per_runner
        eval_interval over_rollout.ratio over_rollout.wait_after_min dynamic_timeout.enable
        dynamic_timeout.ratio""",
    "explorer.rollout_model": _INFERENCE,
    "explorer.auxiliary_models.0": _INFERENCE
    + "name model_path max_prompt_tokens max_response_tokens",
    "synchronizer": "sync_style sync_method sync_interval sync_offset sync_timeout",
    "trainer": """save_interval grad_clip use_dynamic_bsz max_token_len_per_gpu
        ulysses_sequence_parallel_size""",
    "monitor": "monitor_type",
}
"""The keys that AgentScope's example and its published samples use."""

ALL = {key.name: key for key in keys_of(Config)}


def trinity_keys() -> list[str]:
    return [
        f"{section}.{key}".lstrip(".")
        for section, keys in TRINITY_KEYS.items()
        for key in keys.split()
    ]


@pytest.mark.parametrize("name", trinity_keys())
def test_a_trinity_key_is_known_with_an_outcome(name: str) -> None:
    assert ALL[name].outcome in Outcome


@pytest.mark.parametrize("key", ALL.values(), ids=list(ALL))
def test_a_key_says_in_one_line_what_it_means_and_why_it_is_idle(key: Key) -> None:
    assert key.field.description
    assert "\n" not in key.field.description
    assert bool(key.why) == (key.outcome is not Outcome.EFFECT)


BASE = {"model.model_path": "m", "buffer.explorer_input.taskset.path": "d"}
REFUSED = {
    "buffer.explorer_input.taskset.storage_type": "sql",
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_is_not_served_is_refused_by_name(key: str) -> None:
    with pytest.raises(InputError, match=rf"{key}.*is not served"):
        resolve(overrides={**BASE, key: REFUSED[key]})


def test_what_is_not_served_may_be_set_to_what_happens_anyway() -> None:
    served = {
        key.name: key.default
        for key in ALL.values()
        if key.outcome is Outcome.NOT_SERVED and ".0." not in key.name
    }
    assert notices(resolve(overrides={**BASE, **served})) == []


def test_one_line_names_every_key_that_was_set_and_has_no_meaning_here() -> None:
    config = resolve(
        overrides={
            **BASE,
            "explorer.rollout_model.enforce_eager": True,
            "explorer.rollout_model.gpu_memory_utilization": 0.7,
            "trainer.ulysses_sequence_parallel_size": 4,
        }
    )
    (line,) = notices(config)
    assert "\n" not in line
    for key in ("enforce_eager", "gpu_memory_utilization", "ulysses_sequence_parallel_size"):
        assert key in line
    assert "sync_timeout" not in line


def test_epochs_beside_steps_are_named_as_idle() -> None:
    config = resolve(overrides={**BASE, "buffer.total_epochs": 3, "buffer.total_steps": 5})
    assert "buffer.total_epochs (buffer.total_steps decides)" in notices(config)[0]


def test_what_only_a_local_model_reads_is_named_as_idle_for_a_server() -> None:
    server = {"name": "judge", "model_path": "gpt", "base_url": "http://x/v1", "dtype": "float32"}
    config = resolve(overrides={**BASE, "explorer.auxiliary_models": [server]})
    assert "explorer.auxiliary_models.0.dtype (the server" in notices(config)[0]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("buffer.batchsize", "did you mean batch_size?"),
        ("modell", "did you mean model?"),
        ("repeat_times", "did you mean algorithm.repeat_times?"),
        ("explorer.rollout_model.tool_cal_parser", "did you mean tool_call_parser?"),
        ("monitor.qqqqqq", "known are monitor_type"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(key: str, hint: str) -> None:
    with pytest.raises(InputError) as raised:
        resolve(overrides={**BASE, key: 1})
    assert str(raised.value) == f"unknown key {key} (--set): {hint}"


def test_the_place_of_a_key_is_its_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "project: A\nexplorer:\n  auxiliary_models:\n    - name: a\n      modelpath: b\n"
    )
    with pytest.raises(
        InputError, match=r"auxiliary_models\.0\.modelpath \(.*config.yaml, line 5\)"
    ):
        resolve(config_path=path)


PUBLISHED = """
# The keys of the GSM8K example that AgentScope publishes.
project: AgentScope
name: GSM8K
checkpoint_root_dir: ${oc.env:ROOT_OF_RUNS,./checkpoints}
algorithm: {algorithm_type: multi_step_grpo, repeat_times: 4}
model:
  model_path: ${oc.env:MODEL_OF_RUNS,Qwen/Qwen3-0.6B}
  max_response_tokens: 64
  max_model_len: 512
  temperature: 0.9
cluster: {node_num: 1, gpu_per_node: 8}
buffer:
  total_epochs: 1
  batch_size: 4
  train_batch_size: 16
  explorer_input:
    taskset: {name: gsm8k, path: openai/gsm8k, subset_name: main, split: train}
explorer:
  runner_per_model: 16
  max_timeout: 600
  rollout_model:
    engine_num: 4
    tensor_parallel_size: 1
    enable_openai_api: true
    enable_history: true
    enable_auto_tool_choice: true
    tool_call_parser: hermes
    reasoning_parser: deepseek_r1
synchronizer:
  sync_style: dynamic_by_explorer
  sync_method: nccl
  sync_interval: 1
  sync_timeout: 1800
trainer: {save_interval: 100, use_dynamic_bsz: true, ulysses_sequence_parallel_size: 1}
monitor: {monitor_type: tensorboard}
"""


def test_the_published_example_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(PUBLISHED)
    monkeypatch.setenv("MODEL_OF_RUNS", "elsewhere/model")
    config = resolve(config_path=path)
    assert config.checkpoint_root_dir == "./checkpoints"
    assert config.buffer.explorer_input.taskset.subset_name == "main"
    assert config.explorer.runner_per_model == 16
    model = config.trained_model()
    assert (model.model_path, model.temperature) == ("elsewhere/model", 0.9)
    assert (model.max_model_len, model.max_response_tokens) == (512, 64)
    (line,) = notices(config)
    for key in ("cluster.gpu_per_node", "explorer.rollout_model.engine_num"):
        assert key in line
    for key in ("sync_method", "sync_timeout"):
        assert f"synchronizer.{key}" in line
