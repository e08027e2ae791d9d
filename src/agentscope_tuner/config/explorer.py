"""`explorer`: rollouts, and the models behind them."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from agentscope_tuner.config.keys import Section, effect, not_here, on_a_cluster, with_vllm
from agentscope_tuner.config.model import Lengths
from agentscope_tuner.config.trinity_keys import with_trinitys_keys

_VLLM = "vLLM only"
_ALWAYS = "the endpoint always does"


class InferenceModel(Lengths):
    """How a model is run for sampling."""

    engine_num: int = not_here(
        1, "Copies of the model.", "each sampler of the tuned model has one beside it", gt=0
    )
    engine_type: Literal["torch", "vllm"] = effect(
        "torch", "What samples: torch, this package's own sampler, or vllm; vllm_async is vllm."
    )
    tensor_parallel_size: int = with_vllm(
        1, "Devices that one copy is split over.", "torch samples on one device", gt=0
    )
    gpu_memory_utilization: float | None = with_vllm(
        None,
        "Part of a GPU's memory to take; empty: 0.9, or 0.4 beside a learner.",
        _VLLM,
        gt=0,
        le=1,
    )
    enable_prefix_caching: bool = with_vllm(
        True, "Share the cache of common prefixes.", "it never changes what is sampled"
    )
    enable_chunked_prefill: bool = with_vllm(
        True, "Read long prompts in pieces.", "torch always does"
    )
    enforce_eager: bool = with_vllm(False, "No CUDA graphs.", _VLLM)
    extra_engine_args: dict[str, Any] = with_vllm(
        dict, "Further arguments of vLLM's engine, over all others.", _VLLM
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = effect(
        "auto", "Precision of sampling; auto: what is fast on the device."
    )
    kv_cache_memory_bytes: int | None = effect(
        None,
        "Memory for keys and values of prompts and answers, which later calls may go on from; "
        "empty: a tenth of what is free. A CPU's is taken as it is filled.",
        gt=0,
    )
    seed: int | None = not_here(
        None, "Seed of sampling.", "every draw's seed is derived from the run's own", ge=0
    )
    enable_thinking: bool | None = effect(
        None, "Whether the chat template asks for thinking; empty: the template's own default."
    )
    enable_openai_api: bool = not_here(True, "Answer OpenAI's API.", _ALWAYS)
    enable_history: bool = not_here(True, "Record every call.", _ALWAYS)
    enable_auto_tool_choice: bool = not_here(
        True, "Let the model decide on tool calls.", "tool_call_parser alone decides"
    )
    tool_call_parser: str | None = effect(
        "hermes", "The form of the model's tool calls; empty: they stay text."
    )
    reasoning_parser: str | None = effect(
        "deepseek_r1", "The form of the model's thinking; empty: it stays text."
    )

    @field_validator("engine_type", mode="before")
    @classmethod
    def _has_trinitys_other_name(cls, value: object) -> object:
        return "vllm" if value == "vllm_async" else value


@with_trinitys_keys("explorer.rollout_model")
class RolloutModel(InferenceModel):
    """The model that is tuned, where it is sampled."""

    engine_num: int = on_a_cluster(
        1,
        "Actors that roll out, each with a copy of the model.",
        "one sampler serves every rollout of a model",
        gt=0,
    )
    max_model_len: int | None = effect(None, "Instead of model.max_model_len.", gt=0)
    max_prompt_tokens: int | None = effect(None, "Instead of model.max_prompt_tokens.", gt=0)
    max_response_tokens: int | None = effect(None, "Instead of model.max_response_tokens.", gt=0)


@with_trinitys_keys("explorer.auxiliary_models.0")
class AuxiliaryModel(InferenceModel):
    """A further model for the workflow and the judge; it is not tuned."""

    name: str = effect(
        "",
        "The name under which functions find it in auxiliary_models; empty: its model_path.",
        examples=["judge"],
    )
    model_path: str | None = effect(
        None,
        "Like model.model_path; with base_url, the name that the server knows.",
        examples=["Qwen/Qwen3-0.6B"],
    )
    temperature: float = effect(1.0, "Where a call gives none.", ge=0)
    top_p: float = effect(1.0, "Where a call gives none.", gt=0, le=1)
    top_k: int = effect(-1, "Where a call gives none; -1: all tokens.", ge=-1)
    base_url: str | None = effect(
        None, "Address of an OpenAI-compatible server; empty: the model runs here."
    )
    api_key_env: str | None = effect(
        None, "Environment variable that holds the server's API key; empty: it wants none."
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.model_path is None:
            raise ValueError(f"the auxiliary model {self.name!r} needs a model_path")
        self.name = self.name or self.model_path
        if self.api_key_env is not None and self.base_url is None:
            raise ValueError(
                f"the auxiliary model {self.name!r} has an api_key_env but no base_url"
            )
        return self


@with_trinitys_keys("explorer.over_rollout")
class OverRollout(Section):
    """Going on without the slowest tasks of a step."""

    ratio: float = effect(
        0.0, "Part of a step's tasks that it may go on without; 0: all are waited for.", ge=0, lt=1
    )
    wait_after_min: float = effect(30.0, "Seconds that these have once all others are done.", ge=0)
    return_partial_tasks: bool = effect(
        False, "Learn from the finished rollouts of a task that was not waited for."
    )


@with_trinitys_keys("explorer.dynamic_timeout")
class DynamicTimeout(Section):
    """A deadline that follows the mean time of a task."""

    enable: bool = effect(
        False,
        "Limit a rollout's time, with all its attempts, by how long those of the last 10 steps "
        "took; at most max_timeout for each attempt.",
    )
    ratio: float = effect(3.0, "Limit over mean time.", gt=0)
    warmup_min_steps: int = effect(1, "Steps before there is a limit.", gt=0)


@with_trinitys_keys("explorer")
class Explorer(Section):
    """Rollouts, and the models behind them."""

    runner_per_model: int | None = effect(
        None,
        "Rollouts that run at once on each copy of the model; empty: all of a step, but on a "
        "cluster 256.",
        gt=0,
    )
    max_timeout: float = effect(
        3600.0, "Seconds a rollout may take, after which it has failed.", gt=0
    )
    max_retry_times: int = effect(2, "How often a failed rollout is tried again.", ge=0)
    max_repeat_times_per_runner: int | None = not_here(
        None, "Rollouts of one task in one runner.", "rollouts are not tied to runners"
    )
    eval_interval: int = effect(
        100, "Steps between evaluations; there is one at the start and the end too.", gt=0
    )
    env_vars: dict[str, str] = effect(
        dict, "Environment variables of workflows and judges, set in this process."
    )
    over_rollout: OverRollout = Field(default_factory=OverRollout)
    dynamic_timeout: DynamicTimeout = Field(default_factory=DynamicTimeout)
    rollout_model: RolloutModel = Field(default_factory=RolloutModel)
    auxiliary_models: list[AuxiliaryModel] = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [model.name for model in self.auxiliary_models]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two auxiliary models are named {name!r}")
        return self
