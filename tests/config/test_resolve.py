"""YAML first, then what the caller set explicitly, then `--set`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentscope_tuner.config.arguments import (
    AlgorithmConfig,
    DatasetConfig,
    TinkerConfig,
    TunerModelConfig,
)
from agentscope_tuner.config.keys import keys_of
from agentscope_tuner.config.resolve import ALGORITHM_KEYS, MODEL_KEYS, TASKSET_KEYS, resolve
from agentscope_tuner.config.schema import Config
from agentscope_tuner.errors import InputError

MODEL = TunerModelConfig(model_path="m", max_model_len=1024)
DATASET = DatasetConfig(path="d")


def written(directory: Path, text: str) -> Path:
    path = directory / "config.yaml"
    path.write_text(text)
    return path


def test_arguments_alone_give_agentscopes_defaults() -> None:
    config = resolve(model=MODEL, train_dataset=DATASET)
    assert config.project == "AgentScope"
    assert config.algorithm.algorithm_type == "multi_step_grpo"
    assert config.algorithm.repeat_times == 8
    assert config.buffer.batch_size == 32
    assert config.monitor.monitor_type == ["tensorboard"]
    assert config.trained_model().max_response_tokens == 8192


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (TunerModelConfig, MODEL_KEYS),
        (AlgorithmConfig, ALGORITHM_KEYS),
        (DatasetConfig, TASKSET_KEYS),
    ],
)
def test_a_default_argument_is_the_default_of_its_key(arguments: Any, keys: dict) -> None:
    defaults = {key.name: key.default for key in keys_of(Config)}
    for name, key in keys.items():
        field = arguments.model_fields[name]
        if not field.is_required() and name != "max_tokens":  # as many as fit, at most 8192
            assert defaults[key] == field.default, name


def test_every_explicit_argument_reaches_its_key() -> None:
    config = resolve(
        model=TunerModelConfig(
            model_path="m",
            max_model_len=100,
            temperature=0.5,
            top_p=0.9,
            max_tokens=10,
            enable_thinking=False,
            inference_engine_num=2,
            tool_call_parser=None,
            reasoning_parser=None,
        ),
        train_dataset=DatasetConfig(path="d", name="main", split="dev", total_steps=7),
        algorithm=AlgorithmConfig(
            algorithm_type="grpo",
            learning_rate=1e-5,
            group_size=4,
            batch_size=2,
            save_interval_steps=5,
            eval_interval_steps=6,
        ),
        project_name="P",
        experiment_name="E",
        monitor_type=["wandb", "mlflow"],
    )
    model = config.trained_model()
    assert (model.max_model_len, model.temperature, model.top_p) == (100, 0.5, 0.9)
    assert (model.max_response_tokens, model.enable_thinking) == (10, False)
    assert (model.tool_call_parser, model.reasoning_parser) == (None, None)
    assert config.explorer.rollout_model.engine_num == 2
    taskset = config.buffer.explorer_input.taskset
    assert (taskset.path, taskset.subset_name, taskset.split) == ("d", "main", "dev")
    assert config.buffer.total_steps == 7
    assert config.algorithm.algorithm_type == "grpo"
    assert config.algorithm.optimizer.lr == 1e-5
    assert (config.algorithm.repeat_times, config.buffer.batch_size) == (4, 2)
    assert (config.trainer.save_interval, config.explorer.eval_interval) == (5, 6)
    assert (config.project, config.name) == ("P", "E")
    assert config.monitor.monitor_type == ["wandb", "mlflow"]


YAML = """
model: {model_path: from-yaml, max_model_len: 512, temperature: 0.3}
algorithm: {repeat_times: 16, optimizer: {lr: 1e-4}}
buffer:
  batch_size: 3
  total_steps: 9
  explorer_input: {taskset: {path: yaml-data, split: dev}}
"""


def test_only_what_was_set_explicitly_overrides_the_file(tmp_path: Path) -> None:
    config = resolve(
        config_path=written(tmp_path, YAML),
        model=TunerModelConfig(model_path="from-python", max_model_len=256),
        train_dataset=DatasetConfig(path="python-data"),
        algorithm=AlgorithmConfig(batch_size=5),
    )
    assert (config.model.model_path, config.model.max_model_len) == ("from-python", 256)
    assert config.model.temperature == 0.3
    assert config.algorithm.repeat_times == 16
    assert config.algorithm.optimizer.lr == 1e-4
    assert (config.buffer.batch_size, config.buffer.total_steps) == (5, 9)
    taskset = config.buffer.explorer_input.taskset
    assert (taskset.path, taskset.split) == ("python-data", "dev")


def test_settings_override_file_and_arguments(tmp_path: Path) -> None:
    config = resolve(
        config_path=written(tmp_path, YAML),
        algorithm=AlgorithmConfig(batch_size=5),
        overrides=[
            *("name=first", "seed=3", "deterministic=true"),
            *("buffer.batch_size=7", "algorithm.optimizer.lr=2e-5", "monitor.monitor_type=none"),
            "buffer.explorer_input.taskset.workflow_args={level: [1, 2]}",
        ],
    )
    assert (config.name, config.seed, config.deterministic) == ("first", 3, True)
    assert (config.buffer.batch_size, config.algorithm.optimizer.lr) == (7, 2e-5)
    assert config.monitor.monitor_type == []
    assert config.buffer.explorer_input.taskset.workflow_args == {"level": [1, 2]}


def test_a_number_in_a_setting_is_a_position_in_a_list() -> None:
    config = resolve(
        model=MODEL,
        train_dataset=DATASET,
        auxiliary_models={"judge": MODEL},
        overrides=["explorer.auxiliary_models.0.temperature=0"],
    )
    assert config.auxiliary_models()["judge"].temperature == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed", "must be key=value"),
        ("model..x=1", "must be key=value"),
        ("seed=[1", "is no YAML"),
        ("seed.x.y=1", r"seed \(--set\)"),
        ("project.x.y=1", r"project \(--set\)"),
        ("explorer.auxiliary_models.3.name=a", "3 is no position in a list of 1"),
        ("explorer.auxiliary_models.0.name.first=a", "first lies below a plain value"),
        ("model.temperature=-1", r"model.temperature \(--set\) is -1, but it should be"),
    ],
)
def test_a_bad_setting_is_one_sentence(setting: str, message: str) -> None:
    arguments: dict[str, Any] = {
        "model": MODEL,
        "train_dataset": DATASET,
        "auxiliary_models": {"judge": MODEL},
        "overrides": [setting],
    }
    with pytest.raises(InputError, match=message) as raised:
        resolve(**arguments)
    assert "\n" not in str(raised.value)


def test_auxiliary_models_of_file_and_arguments_join_by_name(tmp_path: Path) -> None:
    text = YAML + (
        "explorer:\n  auxiliary_models:\n"
        "    - {name: judge, model_path: a, dtype: float32, max_response_tokens: 9}\n"
        "    - {name: user, model_path: b}\n"
    )
    config = resolve(
        config_path=written(tmp_path, text),
        auxiliary_models={
            "judge": TunerModelConfig(model_path="c", max_model_len=64, max_tokens=32),
            "critic": TunerModelConfig(
                model_path="gpt", max_model_len=64, base_url="http://x/v1", api_key_env="KEY"
            ),
        },
    )
    models = config.auxiliary_models()
    assert list(models) == ["judge", "user", "critic"]
    assert (models["judge"].model_path, models["judge"].dtype) == ("c", "float32")
    assert models["judge"].max_response_tokens == 32
    assert (models["critic"].base_url, models["critic"].api_key_env) == ("http://x/v1", "KEY")


def test_evaluation_datasets_are_named_after_their_keys_or_splits(tmp_path: Path) -> None:
    test = DatasetConfig(path="d", split="test")
    path = written(
        tmp_path,
        YAML.replace("split: dev}}", "split: dev}, eval_tasksets: [{path: e, split: held-out}]}"),
    )

    def names(eval_dataset: Any) -> list[str]:
        config = resolve(config_path=path, eval_dataset=eval_dataset)
        return [taskset.name for taskset in config.buffer.explorer_input.eval_tasksets]

    assert names(None) == ["held-out"]
    assert names(test) == ["held-out", "test"]
    assert names([test, DatasetConfig(path="d")]) == ["held-out", "test", "train"]
    assert names({"easy": test, "hard": test}) == ["held-out", "easy", "hard"]
    with pytest.raises(InputError, match="several datasets with one split need names"):
        names([test, test])
    with pytest.raises(InputError, match="are for train_dataset"):
        names(DatasetConfig(path="d", split="test", total_steps=3))


def test_the_selector_has_two_names(tmp_path: Path) -> None:
    text = YAML.replace("split: dev", "task_selector: {selector_type: sequential}")
    config = resolve(config_path=written(tmp_path, text))
    assert config.buffer.explorer_input.taskset.data_selector.selector_type == "sequential"


def test_a_section_that_is_commented_out_is_its_default(tmp_path: Path) -> None:
    config = resolve(
        config_path=written(tmp_path, YAML + "explorer:\n  # max_timeout: 3\ntrainer:\n")
    )
    assert config.explorer.max_timeout == 3600


def test_what_is_missing_is_named_with_both_ways_to_give_it() -> None:
    with pytest.raises(InputError, match=r"TunerModelConfig\(model_path=.*model\.model_path"):
        resolve(train_dataset=DATASET)
    with pytest.raises(InputError, match=r"train_dataset=.*buffer\.explorer_input\.taskset\.path"):
        resolve(model=MODEL)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model.max_response_tokens": 1024}, "must be smaller than max_model_len"),
        ({"model.top_p": 0}, "greater than 0"),
        ({"algorithm.repeat_times": 0}, "greater than 0"),
        ({"algorithm.kl_loss_fn_args.kl_coef": 0.1}, "no effect without a kl_loss_fn"),
        (
            {
                "algorithm.entropy_loss_fn": "none",
                "algorithm.entropy_loss_fn_args.entropy_coef": 0.1,
            },
            "no effect with none",
        ),
        ({"buffer.batch_size": "many"}, "valid integer"),
        ({"explorer.auxiliary_models": [{"name": "a"}]}, "'a' needs a model_path"),
        (
            {"explorer.auxiliary_models": [{"name": "a", "model_path": "m"}] * 2},
            "two auxiliary models are named 'a'",
        ),
        ({"buffer.explorer_input.eval_tasksets": [{}]}, "needs a path"),
        ({"model": 3}, "it is a section with keys of its own"),
    ],
)
def test_a_bad_value_is_named(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve(model=MODEL, train_dataset=DATASET, overrides=overrides)


def test_the_tuned_model_may_be_at_a_tinker_service_and_no_other() -> None:
    service = TinkerConfig(rank=4, train_mlp=False)
    tinker = TunerModelConfig(model_path="m", max_model_len=64, tinker_config=service)
    there = resolve(model=tinker, train_dataset=DATASET).model.tinker
    assert (there.enable, there.rank, there.train_mlp, there.train_attn) == (True, 4, False, True)
    assert not resolve(model=MODEL, train_dataset=DATASET).model.tinker.enable
    with pytest.raises(InputError, match=r"auxiliary_models\['a'\]: tinker_config is for"):
        resolve(model=MODEL, train_dataset=DATASET, auxiliary_models={"a": tinker})
    server = TunerModelConfig(model_path="m", max_model_len=64, base_url="http://x")
    with pytest.raises(InputError, match="must be on this machine"):
        resolve(model=server, train_dataset=DATASET)
