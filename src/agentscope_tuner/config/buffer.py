"""`buffer` and `data_processor`: the tasks, how many a step, and what happens to experiences."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from agentscope_tuner.config.keys import Section, but_not, effect, not_here, not_served
from agentscope_tuner.config.task_pipeline import TaskPipeline
from agentscope_tuner.config.trinity_keys import with_trinitys_keys
from agentscope_tuner.config.written import ConversationFields, WrittenFields

_IN_MEMORY = "rollouts go from the sampler to the learner in memory"
_DATA_JUICER = but_not(
    "data_juicer",
    "is not served: Data-Juicer is not called; write an operator of your own "
    "(docs/your_own_parts.md) that does what its recipe does",
)


@with_trinitys_keys("buffer.explorer_input.taskset.rollout_args")
class RolloutArgs(Section):
    """Sampling of this dataset's rollouts; empty: what `model` says."""

    temperature: float | None = effect(None, "Instead of model.temperature.", ge=0)
    top_p: float | None = effect(None, "Instead of model.top_p.", gt=0, le=1)
    top_k: int | None = effect(None, "Instead of model.top_k.", ge=-1)
    max_tokens: int | None = effect(None, "Instead of model.max_response_tokens.", gt=0)


@with_trinitys_keys("buffer.explorer_input.taskset.data_selector")
class DataSelector(Section):
    """The order in which tasks come."""

    selector_type: str = effect(
        "shuffle", "sequential, shuffle, random, offline_easy2hard or difficulty_based."
    )
    feature_keys: list[str] = effect(list, "Fields of a sample that its difficulty is read from.")
    kwargs: dict[str, Any] = effect(dict, "Further arguments of the selector.")


class Dataset(Section):
    """A set of tasks on disk or on the hub."""

    storage_type: Literal["file", "queue", "sql"] = not_served(
        "file", "How the tasks are stored.", "tasks are read by `datasets.load_dataset` (file)"
    )
    path: str | None = effect(
        None,
        "A directory, a file, or a hub name (name@revision pins one).",
        examples=["my_dataset"],
    )
    subset_name: str | None = effect(None, "Name of the dataset's configuration.")
    split: str | None = effect("train", "The split; empty: the only one there is.")
    rollout_args: RolloutArgs = Field(default_factory=RolloutArgs)
    workflow_args: dict[str, Any] = effect(
        dict, 'Free-form; reaches the workflow as task["workflow_args"].'
    )


@with_trinitys_keys("buffer.explorer_input.taskset")
class Taskset(Dataset):
    """The tasks to learn from."""

    name: str = not_here("", "Name of the dataset.", "there is one training dataset")
    fields: WrittenFields = Field(default_factory=WrittenFields)
    repeat_times: int = not_here(1, "Rollouts a task.", "algorithm.repeat_times decides", gt=0)
    data_selector: DataSelector = Field(
        default_factory=DataSelector,
        description="The order of tasks; also under its other name, task_selector.",
        validation_alias=AliasChoices("data_selector", "task_selector"),
    )


@with_trinitys_keys("buffer.explorer_input.eval_tasksets.0.data_selector")
class UnusedSelector(Section):
    """A selector where there is nothing to select."""

    selector_type: str = not_here("", "The order of tasks.", "an evaluation runs every task")
    feature_keys: list[str] = not_here(
        list, "Fields to select by.", "an evaluation runs every task"
    )
    kwargs: dict[str, Any] = not_here(
        dict, "Arguments of the selector.", "an evaluation runs every task"
    )


@with_trinitys_keys("buffer.explorer_input.eval_tasksets.0")
class EvalTaskset(Dataset):
    """Held-out tasks."""

    name: str = effect("", "Name in the metrics (eval/<name>/...); empty: the split's.")
    split: str | None = effect(
        "train", "The split; empty: the only one there is.", examples=["test"]
    )
    repeat_times: int = effect(1, "Rollouts a task.", gt=0)
    data_selector: UnusedSelector = Field(
        default_factory=UnusedSelector,
        validation_alias=AliasChoices("data_selector", "task_selector"),
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.path is None:
            raise ValueError("an evaluation dataset needs a path")
        self.name = self.name or self.split or "eval"
        return self


@with_trinitys_keys("buffer.explorer_input")
class ExplorerInput(Section):
    """Where tasks come from."""

    taskset: Taskset = Field(default_factory=Taskset)
    eval_tasksets: list[EvalTaskset] = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [taskset.name for taskset in self.eval_tasksets]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two evaluation datasets are named {name!r}; give each a name")
        return self


@with_trinitys_keys("buffer.trainer_input.experience_buffer.replay_buffer")
class ReplayBuffer(Section):
    """Training on older rollouts again."""

    enable: bool = effect(False, "Learn from older rollouts again, given a reuse_cooldown_time.")
    reuse_cooldown_time: float | None = effect(
        None, "Seconds after which a group may be learnt from again; empty: never.", ge=0
    )
    priority_fn: str = effect(
        "linear_decay",
        "Which come first: linear_decay, decay_limit_randomization, or package.module:Name.",
    )
    priority_fn_args: dict[str, Any] = effect(
        dict, "Arguments of priority_fn: decay; use_count_limit and sigma."
    )


@with_trinitys_keys("buffer.trainer_input.experience_buffer")
class ExperienceBuffer(Section):
    """What is between the sampler and the learner."""

    name: str = not_here("", "Name of the buffer.", _IN_MEMORY)
    storage_type: Literal["queue", "file", "sql"] = not_here(
        "queue", "How experiences are stored.", _IN_MEMORY
    )
    capacity: int = effect(10_000, "The most rollouts that are kept for learning again.", gt=0)
    max_read_timeout: float = not_here(1800.0, "Seconds to wait for experiences.", _IN_MEMORY, gt=0)
    replay_buffer: ReplayBuffer = Field(default_factory=ReplayBuffer)


@with_trinitys_keys("buffer.trainer_input")
class TrainerInput(Section):
    """Where experiences come from."""

    experience_buffer: ExperienceBuffer = Field(default_factory=ExperienceBuffer)


class ExpertData(Section):
    """Conversations that `mix` and `mix_chord` imitate beside what the model samples."""

    path: str | None = effect(None, "A directory, a file, or a hub name; in the form of sft.")
    fields: ConversationFields = Field(default_factory=ConversationFields)
    subset_name: str | None = effect(None, "Name of the dataset's configuration.")
    split: str | None = effect("train", "The split; empty: the only one there is.")
    expert_data_ratio: float = effect(
        0.5,
        "Their share of what a step learns from: beside 7 rollouts, 0.25 is 3 conversations.",
        gt=0,
        lt=1,
    )


@with_trinitys_keys("buffer")
class Buffer(Section):
    """The tasks, and how many make a step."""

    total_epochs: int = effect(1, "How often every task is met; total_steps overrides it.", gt=0)
    total_steps: int | None = effect(None, "Training steps; empty: total_epochs decides.", gt=0)
    batch_size: int = effect(32, "Tasks a step.", gt=0)
    train_batch_size: int | None = effect(
        None,
        "Samples (model calls) that an optimizer step takes at least, in whole groups, so that a "
        "batch of tasks may take several; empty: all of them in one.",
        gt=0,
    )
    explorer_input: ExplorerInput = Field(default_factory=ExplorerInput)
    trainer_input: TrainerInput = Field(default_factory=TrainerInput)
    experts: ExpertData = Field(default_factory=ExpertData)


class Operator(Section):
    """One operator of the pipeline."""

    name: Annotated[str, _DATA_JUICER] = effect(
        "",
        "Name of the operator (docs/operators.md), or package.module:Name of one of your own.",
        examples=["reward_std_filter"],
    )
    args: dict[str, Any] = effect(dict, "Its arguments.")


@with_trinitys_keys("data_processor.experience_pipeline")
class ExperiencePipeline(Section):
    """What runs on rollouts before they are learnt from, in this order."""

    operators: list[Operator] = Field(default_factory=list)


@with_trinitys_keys("data_processor")
class DataProcessor(Section):
    """What runs on data on its way."""

    experience_pipeline: ExperiencePipeline = Field(default_factory=ExperiencePipeline)
    task_pipeline: TaskPipeline = Field(default_factory=TaskPipeline)
