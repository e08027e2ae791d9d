"""What there is to learn from: the tasks, the held-out sets, and what somebody wrote down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields as fields_of
from typing import Any

from agentscope_tuner.algorithms.base import Data
from agentscope_tuner.chat.demonstration import demonstrate, demonstrate_pair, read_text
from agentscope_tuner.config.buffer import Dataset, ExpertData, RolloutArgs
from agentscope_tuner.config.schema import Config
from agentscope_tuner.config.written import ConversationFields, WrittenFields
from agentscope_tuner.engine.evaluation import Evaluation
from agentscope_tuner.engine.experience import Reader, experts
from agentscope_tuner.engine.models import (
    ModelFiles,
    max_length,
    renderer_of,
)
from agentscope_tuner.errors import InputError
from agentscope_tuner.rollout.sampling import Sampling
from agentscope_tuner.tasks import Samples, Taskset, load_samples, make_selector, make_tasks


def samples_of(dataset: Dataset | ExpertData) -> Samples:
    """What a dataset of the configuration holds."""
    assert dataset.path is not None, "checked by the schema"
    return load_samples(dataset.path, name=dataset.subset_name, split=dataset.split)


def build_taskset(config: Config) -> Taskset:
    """The tasks to learn from, in the configured order."""
    dataset = config.buffer.explorer_input.taskset
    if dataset.path is None:
        raise InputError("mode bench has no dataset to learn from, only evaluations: run it.")
    config.data_processor.task_pipeline.refuse_no_output(dataset.path)
    samples = samples_of(dataset)
    selector = make_selector(
        samples,
        dataset.data_selector.selector_type,
        seed=config.seed,
        feature_keys=dataset.data_selector.feature_keys,
        kwargs=dataset.data_selector.kwargs,
    )
    return Taskset(
        samples,
        config.buffer.batch_size,
        selector=selector,
        total_epochs=config.buffer.total_epochs,
        total_steps=config.buffer.total_steps,
        workflow_args=dataset.workflow_args,
    )


def build_evaluations(config: Config) -> list[Evaluation]:
    """The held-out sets."""
    sets = []
    for dataset in config.buffer.explorer_input.eval_tasksets:
        samples = samples_of(dataset)
        sets.append(
            Evaluation(
                name=dataset.name,
                tasks=make_tasks(samples, range(len(samples)), workflow_args=dataset.workflow_args),
                sampling=sampling_of(dataset.rollout_args),
                samples=dataset.repeat_times,
            )
        )
    return sets


def sampling_of(arguments: RolloutArgs) -> Sampling:
    """How a dataset's rollouts are sampled."""
    names = {field.name for field in fields_of(Sampling)} & type(arguments).model_fields.keys()
    return Sampling(**{name: getattr(arguments, name) for name in names})


def reader(
    config: Config, data: Data, files: ModelFiles, fields: ConversationFields
) -> Reader | None:
    """How a sample with such fields becomes something to learn from; None: by rollouts."""
    settings, tokenizer = config.trained_model(), files.tokenizer
    longest = max_length(settings, files.config)
    match data:
        case "conversations":
            renderer = renderer_of(settings, files)
            return lambda s: experts(s, demonstrate(renderer, named(s, fields), longest))
        case "pairs":
            renderer = renderer_of(settings, files)
            return lambda s: experts(s, *demonstrate_pair(renderer, named(s, fields), longest))
        case "texts":
            assert isinstance(fields, WrittenFields), "experts write conversations"
            key = fields.text
            return lambda s: experts(s, read_text(tokenizer, s, key, longest))
    return None


def named(sample: Mapping[str, Any], fields: ConversationFields) -> dict[str, Any]:
    """What is learnt of a sample, under the names that `fields` have for it here."""
    theirs = fields.model_dump()
    return {ours: sample[name] for ours, name in theirs.items() if name in sample}
