"""One configuration out of its sources: a YAML file, then the arguments of `tune()`, then `--set`.

Only what was given explicitly overrides; a default overrides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentscope_tuner.config import keys, yaml_file
from agentscope_tuner.config.arguments import (
    AlgorithmConfig,
    Arguments,
    DatasetConfig,
    TinkerConfig,
    TunerModelConfig,
)
from agentscope_tuner.config.keys import dotted
from agentscope_tuner.config.problems import validated
from agentscope_tuner.config.schema import ChatModelSettings, Config
from agentscope_tuner.config.trees import Tree, contains, merged, overridden, parsed, tree_of
from agentscope_tuner.errors import InputError

Datasets = DatasetConfig | Mapping[str, DatasetConfig] | Sequence[DatasetConfig]
Overrides = Mapping[str, Any] | Sequence[str]

MODEL_KEYS = {
    "model_path": "model.model_path",
    "max_model_len": "model.max_model_len",
    "temperature": "model.temperature",
    "top_p": "model.top_p",
    "max_tokens": "model.max_response_tokens",
    "enable_thinking": "explorer.rollout_model.enable_thinking",
    "tensor_parallel_size": "explorer.rollout_model.tensor_parallel_size",
    "inference_engine_num": "explorer.rollout_model.engine_num",
    "tool_call_parser": "explorer.rollout_model.tool_call_parser",
    "reasoning_parser": "explorer.rollout_model.reasoning_parser",
}
ALGORITHM_KEYS = {
    "algorithm_type": "algorithm.algorithm_type",
    "learning_rate": "algorithm.optimizer.lr",
    "group_size": "algorithm.repeat_times",
    "batch_size": "buffer.batch_size",
    "save_interval_steps": "trainer.save_interval",
    "eval_interval_steps": "explorer.eval_interval",
}
DATASET_KEYS = {"path": "path", "name": "subset_name", "split": "split"}
TASKSET_KEYS = {
    **{name: f"buffer.explorer_input.taskset.{key}" for name, key in DATASET_KEYS.items()},
    "total_epochs": "buffer.total_epochs",
    "total_steps": "buffer.total_steps",
}
AUXILIARY_KEYS = {name: path.rpartition(".")[2] for name, path in MODEL_KEYS.items()} | {
    "base_url": "base_url",
    "api_key_env": "api_key_env",
}


def resolve(
    *,
    model: TunerModelConfig | None = None,
    auxiliary_models: Mapping[str, TunerModelConfig] | None = None,
    train_dataset: DatasetConfig | None = None,
    eval_dataset: Datasets | None = None,
    algorithm: AlgorithmConfig | None = None,
    project_name: str | None = None,
    experiment_name: str | None = None,
    monitor_type: str | Sequence[str] | None = None,
    config_path: str | Path | None = None,
    functions: Mapping[str, str | None] | None = None,
    overrides: Overrides = (),
) -> Config:
    """The configuration of a run.

    `functions` says where those that tune() was given came from, by their keys (None: nowhere that
    could be written down). `overrides` are keys by their path, as a mapping or as `key.path=value`
    with YAML values; a position in a list is a part of the path
    (`explorer.auxiliary_models.0.temperature=0`).

    Raises InputError: anything that `problems.validated` refuses, a missing model or dataset.
    """
    written = yaml_file.load(config_path) if config_path is not None else {}
    names = {"project": project_name, "name": experiment_name, "monitor.monitor_type": monitor_type}
    given = tree_of({key: value for key, value in names.items() if value is not None})
    given = merged(given, tree_of(functions or {}))
    for part in (
        _tuned(model),
        _auxiliary(auxiliary_models or {}),
        tree_of(_explicit(train_dataset, TASKSET_KEYS)),
        _evaluated(eval_dataset),
        tree_of(_explicit(algorithm, ALGORITHM_KEYS)),
    ):
        given = merged(given, part)
    settings = parsed(overrides)
    tree = overridden(merged(written, given), settings)

    def place(path: keys.Path) -> str:
        if any(_related(dotted(path), key) for key in settings):
            return "--set"
        if contains(given, path):
            return "the arguments of tune()"
        if config_path is None:
            return "the defaults"
        line = yaml_file.line_of(config_path, path)
        return str(config_path) if line is None else f"{config_path}, line {line}"

    config = validated(tree, place)
    _refuse_what_cannot_begin(config)
    return config


def auxiliary_settings(
    models: Mapping[str, TunerModelConfig | Mapping[str, Any]],
) -> dict[str, ChatModelSettings]:
    """How models are loaded and sampled that no run tunes, by name; plain arguments may leave out
    `max_model_len`. Raises InputError."""
    tree: Tree = {}
    for name, model in models.items():
        if isinstance(model, TunerModelConfig):
            part = _auxiliary({name: model})
        else:
            keys = {key: value for key, value in model.items() if key in AUXILIARY_KEYS}
            item = {"name": name} | {AUXILIARY_KEYS[key]: value for key, value in keys.items()}
            part = tree_of({"explorer.auxiliary_models": [item]})
        tree = merged(tree, part)
    return validated(tree, lambda path: "the model").auxiliary_models()


def _refuse_what_cannot_begin(config: Config) -> None:
    if config.model.model_path is None:
        raise InputError(
            "there is no model to tune: give tune() a model=TunerModelConfig(model_path=...), "
            "or the YAML file a model.model_path"
        )
    if config.mode == "bench":
        return
    path = config.buffer.explorer_input.taskset.path
    if path is None:
        raise InputError(
            "there is no dataset to learn from: give tune() a "
            "train_dataset=DatasetConfig(path=...), or the YAML file a "
            "buffer.explorer_input.taskset.path"
        )
    config.data_processor.task_pipeline.refuse_its_inputs(path)


def _explicit(arguments: Arguments | None, keys_of: Mapping[str, str]) -> dict[str, Any]:
    """What was set explicitly, under the configuration's keys."""
    if arguments is None:
        return {}
    return {
        key: getattr(arguments, name)
        for name, key in keys_of.items()
        if name in arguments.model_fields_set
    }


def _tuned(model: TunerModelConfig | None) -> Tree:
    if model is None:
        return {}
    if model.base_url is not None or model.api_key_env is not None:
        raise InputError(
            "model: base_url and api_key_env are for auxiliary models; the model that is tuned "
            "must be on this machine, or at a Tinker service (tinker_config)"
        )
    return tree_of(_explicit(model, MODEL_KEYS) | _tinker(model.tinker_config))


def _tinker(service: TinkerConfig | None) -> dict[str, Any]:
    if service is None:
        return {}
    given = {f"model.tinker.{name}": getattr(service, name) for name in service.model_fields_set}
    return {"model.tinker.enable": True, **given}


def _auxiliary(models: Mapping[str, TunerModelConfig]) -> Tree:
    for name, model in models.items():
        if model.tinker_config is not None:
            raise InputError(
                f"auxiliary_models[{name!r}]: tinker_config is for the model that is tuned; leave "
                "it out, and the model runs on this machine, or give it a base_url"
            )
    items = [{"name": name, **_explicit(model, AUXILIARY_KEYS)} for name, model in models.items()]
    return tree_of({"explorer.auxiliary_models": items}) if items else {}


def _evaluated(datasets: Datasets | None) -> Tree:
    if datasets is None:
        return {}
    if isinstance(datasets, DatasetConfig):
        datasets = [datasets]
    if not isinstance(datasets, Mapping):
        names = [dataset.split or "eval" for dataset in datasets]
        if len(set(names)) < len(names):
            raise InputError(
                "eval_dataset: several datasets with one split need names; give a dictionary"
            )
        datasets = dict(zip(names, datasets, strict=True))
    items = []
    for name, dataset in datasets.items():
        if dataset.total_steps is not None or dataset.total_epochs != 1:
            raise InputError(
                f"eval_dataset {name!r}: total_epochs and total_steps are for train_dataset; an "
                "evaluation runs every task once"
            )
        items.append({"name": name, **_explicit(dataset, DATASET_KEYS)})
    return tree_of({"buffer.explorer_input.eval_tasksets": items}) if items else {}


def _related(path: str, key: str) -> bool:
    """Whether one of two dotted paths lies at or below the other."""
    return f"{path}.".startswith(f"{key}.") or f"{key}.".startswith(f"{path}.")
