"""The configuration: one tree, the single source of arguments, YAML files and their documentation.

The keys are those of Trinity-RFT's YAML, which `agentscope.tuner` takes as `config_path`, and a few
of this tuner's own (`seed`, `deterministic`, `model.lora`, `trainer.keep_last`, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from agentscope_tuner.config.algorithm import Algorithm
from agentscope_tuner.config.buffer import Buffer, DataProcessor
from agentscope_tuner.config.explorer import AuxiliaryModel, Explorer, InferenceModel
from agentscope_tuner.config.keys import Key, Outcome, Section, but_not, effect, values_of
from agentscope_tuner.config.model import Model
from agentscope_tuner.config.stop import Alerts, Stop
from agentscope_tuner.config.trainer import Cluster, Monitor, Synchronizer, Trainer
from agentscope_tuner.config.trinity_keys import with_trinitys_keys
from agentscope_tuner.config.workflow import Workflow

DEFAULT_RESPONSE_TOKENS = 8192
_TRAIN = but_not(
    "train",
    "learns from a file (buffer.trainer_input.experience_buffer with storage_type: file); for "
    "rollouts, one process samples and trains: both",
)
LONGEST_NAME = 200
"""Bytes of a run's or a project's name: file systems take 255, and a number may be added."""
_SERVERS_OWN = {
    *("dtype", "enable_thinking", "engine_type", "kv_cache_memory_bytes", "max_prompt_tokens"),
    *("reasoning_parser", "tool_call_parser"),
}
"""Keys of an auxiliary model that only a model on this machine reads."""

_LOCAL_KEYS = {
    *("trainer.dtype", "trainer.use_dynamic_bsz", "trainer.max_token_len_per_gpu"),
    *("explorer.rollout_model.dtype", "explorer.rollout_model.kv_cache_memory_bytes"),
    "explorer.rollout_model.engine_type",
    *("model.lora.alpha", "model.lora.target_modules"),
}
"""Keys that only a learner or a sampler on this machine reads."""


@dataclass(frozen=True, slots=True)
class ChatModelSettings:
    """How one model is loaded, rendered and sampled; fallbacks between sections are resolved."""

    model_path: str
    base_url: str | None
    api_key_env: str | None
    max_model_len: int | None
    """None: what the model can."""
    max_prompt_tokens: int | None
    """None: what `max_model_len` leaves."""
    max_response_tokens: int
    """The prompt may leave less."""
    temperature: float
    top_p: float
    top_k: int
    """-1: all tokens."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"]
    kv_cache_memory_bytes: int | None
    """None: a part of what is free."""
    engine_type: Literal["torch", "vllm"]
    vllm: Mapping[str, Any]
    """The keys of vLLM alone, by name."""
    enable_thinking: bool | None
    tool_call_parser: str | None
    reasoning_parser: str | None


@with_trinitys_keys("")
class Config(Section):
    """Everything about a run; its Python functions by name."""

    project: str = effect(
        "AgentScope", "Folder of the run below checkpoint_root_dir.", min_length=1
    )
    name: str | None = effect(
        None, "Folder of the run below project; empty: Experiment-<timestamp>.", min_length=1
    )
    checkpoint_root_dir: str = effect("./checkpoints", "Where runs are written.")
    mode: Annotated[Literal["both", "colocate", "explore", "bench"], _TRAIN] = effect(
        "both",
        "both, and colocate, roll out and train; explore rolls out and records without training; "
        "bench only evaluates. train: learn from the file that the experience buffer names.",
    )
    seed: int = effect(0, "Seed of data order, sampling and adapters.", ge=0)
    deterministic: bool = effect(
        False, "Same seed, same weights, bit by bit, interrupted or not; slower."
    )
    workflow: Workflow = Field(default_factory=Workflow)
    algorithm: Algorithm = Field(default_factory=Algorithm)
    model: Model = Field(default_factory=Model)
    cluster: Cluster = Field(default_factory=Cluster)
    buffer: Buffer = Field(default_factory=Buffer)
    data_processor: DataProcessor = Field(default_factory=DataProcessor)
    explorer: Explorer = Field(default_factory=Explorer)
    synchronizer: Synchronizer = Field(default_factory=Synchronizer)
    trainer: Trainer = Field(default_factory=Trainer)
    monitor: Monitor = Field(default_factory=Monitor)
    stop: Stop = Field(default_factory=Stop)
    alerts: Alerts = Field(default_factory=Alerts)

    @field_validator("project", "name")
    @classmethod
    def _is_one_folder(cls, value: str | None) -> str | None:
        if value is None:
            return value
        if value in (".", "..") or any(c in "/\\" or not c.isprintable() for c in value):
            raise ValueError(f"{value!r} is not the name of a folder")
        if len(value.encode()) > LONGEST_NAME:
            raise ValueError(
                f"a name of {len(value)} characters is too long for a folder; take at most "
                f"{LONGEST_NAME}"
            )
        return value

    def trained_model(self) -> ChatModelSettings:
        """The model that is tuned: `model`, and what `explorer.rollout_model` says of it."""
        model, sampling = self.model, self.explorer.rollout_model
        assert model.model_path is not None, "a resolved configuration has a model"
        return ChatModelSettings(
            model_path=model.model_path,
            base_url=None,
            api_key_env=None,
            max_model_len=sampling.max_model_len or model.max_model_len,
            max_prompt_tokens=sampling.max_prompt_tokens or model.max_prompt_tokens,
            max_response_tokens=sampling.max_response_tokens
            or model.max_response_tokens
            or DEFAULT_RESPONSE_TOKENS,
            temperature=model.temperature,
            top_p=model.top_p,
            top_k=model.top_k,
            **self._shared(sampling),
        )

    def auxiliary_models(self) -> dict[str, ChatModelSettings]:
        """The models that are not tuned, by name."""
        return {model.name: self._auxiliary(model) for model in self.explorer.auxiliary_models}

    def _auxiliary(self, model: AuxiliaryModel) -> ChatModelSettings:
        assert model.model_path is not None, "checked by the schema"
        return ChatModelSettings(
            model_path=model.model_path,
            base_url=model.base_url,
            api_key_env=model.api_key_env,
            max_model_len=model.max_model_len,
            max_prompt_tokens=model.max_prompt_tokens,
            max_response_tokens=model.max_response_tokens or DEFAULT_RESPONSE_TOKENS,
            temperature=model.temperature,
            top_p=model.top_p,
            top_k=model.top_k,
            **self._shared(model),
        )

    def _shared(self, model: InferenceModel) -> dict:
        return {
            "dtype": model.dtype,
            "kv_cache_memory_bytes": model.kv_cache_memory_bytes,
            "engine_type": model.engine_type,
            "vllm": {
                key.name: key.value for key in values_of(model) if key.outcome is Outcome.WITH_VLLM
            },
            "enable_thinking": model.enable_thinking,
            "tool_call_parser": model.tool_call_parser,
            "reasoning_parser": model.reasoning_parser,
        }


def _for_training_alone(config: Config) -> dict[str, list[str]]:
    names = [
        key.name
        for key in values_of(config)
        if key.is_set
        and key.outcome is Outcome.EFFECT
        and key.name.startswith(("algorithm.", "trainer."))
        and key.name != "algorithm.repeat_times"
    ]
    return {f"nothing is trained in mode {config.mode}": names} if names else {}


def _for_the_other_place(config: Config) -> dict[str, list[str]]:
    """Keys with a value for a learner on this machine where it is at a service, or the reverse."""
    at_service = config.model.tinker.enable
    why = "the learner is at a Tinker service" if at_service else "model.tinker.enable is not set"
    names = [
        key.name
        for key in values_of(config)
        if key.value != key.default
        and key.name != "model.tinker.enable"
        and (key.name in _LOCAL_KEYS if at_service else key.name.startswith("model.tinker."))
    ]
    return {why: names} if names else {}


def _model_of(key: Key, config: Config) -> InferenceModel:
    """The model that a key below `explorer` is about."""
    if "auxiliary_models" in key.path:
        return config.explorer.auxiliary_models[int(key.path[2])]
    return config.explorer.rollout_model


def notices(config: Config, *, on_cluster: bool = False) -> list[str]:
    """One line that names every key that was set and has no meaning here, if there is any."""
    idle: dict[str, list[str]] = {}
    without = {Outcome.NOT_HERE} if on_cluster else {Outcome.NOT_HERE, Outcome.ON_A_CLUSTER}
    for key in values_of(config):
        idles = key.outcome in without or (
            key.outcome is Outcome.WITH_VLLM and _model_of(key, config).engine_type != "vllm"
        )
        if idles and key.is_set:
            idle.setdefault(key.why, []).append(key.name)
    if config.mode in ("explore", "bench"):
        idle |= _for_training_alone(config)
    if config.buffer.total_steps is not None and config.buffer.total_epochs != 1:
        idle["buffer.total_steps decides"] = ["buffer.total_epochs"]
    replay = config.buffer.trainer_input.experience_buffer.replay_buffer
    if replay.enable and replay.reuse_cooldown_time is None:
        idle["without a reuse_cooldown_time nothing is learnt from again"] = [
            "buffer.trainer_input.experience_buffer.replay_buffer.enable"
        ]
    idle |= _for_the_other_place(config)
    for position, model in enumerate(config.explorer.auxiliary_models):
        for name in sorted(_SERVERS_OWN & model.model_fields_set if model.base_url else ()):
            key_name = f"explorer.auxiliary_models.{position}.{name}"
            idle.setdefault(f"the server at {model.base_url} has its own", []).append(key_name)
    if not idle:
        return []
    parts = (f"{', '.join(names)} ({why})" for why, names in idle.items())
    return [f"understood, without meaning here: {'; '.join(parts)}"]
