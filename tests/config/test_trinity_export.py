"""`export-config --trinity`: read back, the file says what the configuration said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentscope_tuner.config.keys import Key, Outcome, keys_of, values_of
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.config.schema import Config
from agentscope_tuner.config.trinity_export import trinity_yaml
from agentscope_tuner.config.trinity_table import other_names
from agentscope_tuner.errors import InputError

HERE = Path(__file__).parent
TABLE = yaml.safe_load(
    (HERE.parents[1] / "src/agentscope_tuner/config/trinity_export.yaml").read_text()
)
BASE: dict[str, Any] = {
    "model.model_path": "m",
    "model.max_model_len": 512,
    "buffer.explorer_input.taskset.path": "d",
}
RICH: dict[str, Any] = {
    "project": "P",
    "name": "with ${braces}",
    "mode": "colocate",
    "algorithm.algorithm_type": "ppo",
    "algorithm.kl_loss_fn": "k2",
    "algorithm.kl_loss_fn_args": {"adaptive": True, "target": 0.2},
    "algorithm.critic.optimizer.lr": 2e-5,
    "algorithm.optimizer.betas": [0.9, 0.99],
    "model.lora.rank": 8,
    "explorer.rollout_model": {"engine_num": 2, "gpu_memory_utilization": 0.5, "dtype": "float16"},
    "explorer.auxiliary_models": [
        {"name": "judge", "model_path": "j", "temperature": 0},
        {"name": "other", "model_path": "o", "tool_call_parser": None},
    ],
    "explorer.env_vars": {"LEVEL": "1e5"},
    "buffer.explorer_input.eval_tasksets": [{"path": "e", "split": "test", "repeat_times": 4}],
    "buffer.explorer_input.taskset.format": {"prompt_key": "question"},
    "data_processor.experience_pipeline.operators": [
        {"name": "reward_std_filter", "args": {"threshold": 0.1}}
    ],
    "synchronizer.sync_style": "explorer_driven",
    "trainer.keep_last": 3,
    "cluster": {"node_num": 2, "gpu_per_node": 8},
}
OF_ONE_RULE: list[dict[str, Any]] = [
    {"algorithm.algorithm_type": "sft", "buffer.batch_size": 16},
    {"algorithm.algorithm_type": "dpo", "buffer.explorer_input.taskset.subset_name": "pairs"},
    {
        "algorithm.algorithm_type": "sft",
        "buffer.explorer_input.taskset.fields": {"messages": "", "response": "answer"},
    },
    {
        "algorithm.algorithm_type": "dpo",
        "buffer.explorer_input.taskset.fields": {"prompt": "", "chosen": "good"},
    },
    {"algorithm.algorithm_type": "cpt", "buffer.explorer_input.taskset.fields.text": "body"},
    {
        "algorithm.algorithm_type": "mix",
        "buffer.experts": {"path": "written", "split": "all", "expert_data_ratio": 0.2},
    },
    {
        "algorithm.algorithm_type": "mix_chord",
        "buffer.experts": {"path": "written", "fields": {"tools": "functions"}},
    },
]
CHANGED = {bool: lambda v: not v, int: lambda v: v + 2, float: lambda v: v / 2 + 0.25}
PLAIN = [
    key
    for key in keys_of(Config)
    if key.outcome is not Outcome.NOT_SERVED and 0 not in key.path and not key.from_table
    if key.name not in TABLE["parts"]  # whose names are known, or refused
]


def values(config: Config) -> dict[str, Any]:
    return {key.name: key.value for key in values_of(config)}


def said_to_be_left_out(text: str) -> set[str]:
    return set(re.findall(r"^#   (\S+): ", text, re.MULTILINE))


def differences(config: Config, text: str, directory: Path) -> set[str]:
    path = directory / "trinity.yaml"
    path.write_text(text)
    here, there = values(config), values(resolve(config_path=path))
    return {name for name in here | there if here.get(name) != there.get(name)}


@pytest.mark.parametrize("settings", [{}, RICH, *OF_ONE_RULE])
def test_what_is_read_back_is_equal(settings: dict[str, Any], tmp_path: Path) -> None:
    config = resolve(overrides=BASE | settings)
    text = trinity_yaml(config)
    assert differences(config, text, tmp_path) == said_to_be_left_out(text) == set()


def changed(key: Key) -> Config | None:
    """A configuration in which one key is not at its default; None if it takes more than that."""
    change = CHANGED.get(type(key.default))
    for candidate in (change(key.default),) if change is not None else ("text", 3, {"a": 1}, ["a"]):
        try:
            return resolve(overrides=BASE | {key.name: candidate})
        except InputError:
            continue
    return None


CONFIGURATIONS = {key.name: config for key in PLAIN if (config := changed(key)) is not None}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_key_comes_back_or_is_named(name: str, tmp_path: Path) -> None:
    config = CONFIGURATIONS[name]
    text = trinity_yaml(config)
    assert differences(config, text, tmp_path) == said_to_be_left_out(text) <= {name}


def test_nearly_every_key_was_tried() -> None:
    assert len(CONFIGURATIONS) > 0.8 * len(PLAIN)


def test_why_something_is_left_out_stands_at_the_head() -> None:
    settings: dict[str, Any] = {"buffer.explorer_input.taskset.split": None}
    settings |= {"seed": 7, "trainer.keep_best": "eval/a/reward/mean", "explorer.max_timeout": 0.5}
    settings |= {"monitor.monitor_type": ["tensorboard", "wandb"]}
    text = trinity_yaml(resolve(overrides=BASE | settings))
    assert said_to_be_left_out(text) == settings.keys()
    assert "#   seed: 7 (data_selector.seed and rollout_model.seed are apart)" in text


def test_a_rule_that_trinity_does_not_know_is_refused() -> None:
    operators = [{"name": "overlong_penalty", "args": {}}]
    settings = {"algorithm.algorithm_type": "vespo", **BASE}
    settings["data_processor.experience_pipeline.operators"] = operators
    with pytest.raises(InputError, match=r"vespo is not known to Trinity.*overlong_penalty is not"):
        trinity_yaml(resolve(overrides=settings))


def test_trinity_wants_to_know_the_length() -> None:
    with pytest.raises(InputError, match=r"give model\.max_model_len"):
        trinity_yaml(resolve(overrides={**BASE, "model.max_model_len": None}))


def test_the_table_knows_every_key_that_trinity_does_not_have() -> None:
    sections = yaml.safe_load((HERE / "trinity_keys.yaml").read_text())
    theirs = {f"{at}.{key}".lstrip(".") for at, keys in sections.items() for key in keys.split()}
    free = ("_args.", "_pipeline.operators.")
    for key in keys_of(Config):
        if key.outcome is Outcome.NOT_SERVED or key.name in theirs | TABLE["another name"].keys():
            continue
        if any(part in key.name for part in free) or key.from_table:
            continue
        above = {key.name.rsplit(".", n)[0] for n in range(len(key.path))}
        assert above & TABLE["not there"].keys(), key.name


def test_the_table_turns_the_other_one_round() -> None:
    names = {row.name: row.why for row in other_names()}
    for ours, theirs in TABLE["another name"].items():
        assert names[theirs] == ours
