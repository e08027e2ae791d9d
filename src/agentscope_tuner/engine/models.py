"""Configured models become samplers behind the chat service."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase

from agentscope_tuner.chat.detection import create_chat_renderer
from agentscope_tuner.chat.remote import RemoteModel
from agentscope_tuner.chat.rendering import ChatRenderer
from agentscope_tuner.chat.served import ServedModel, serve_model
from agentscope_tuner.chat_model import Connection
from agentscope_tuner.config.schema import ChatModelSettings, Config
from agentscope_tuner.engine.preflight import api_key
from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.base import Sampler
from agentscope_tuner.inference.loading import (
    check_architecture,
    load_config,
    load_model,
    load_tokenizer,
    resolve_model,
)
from agentscope_tuner.inference.model_runner import default_dtype
from agentscope_tuner.inference.queued_sampler import QueuedSampler
from agentscope_tuner.inference.torch_sampler import TorchSampler
from agentscope_tuner.inference.vllm_engine import VllmSettings
from agentscope_tuner.inference.vllm_installed import installed_version
from agentscope_tuner.inference.vllm_sampler import VllmSampler

POLICY = "policy"
"""What requests call the model that is tuned."""


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model directory that has been looked into, before anything big is loaded."""

    directory: Path
    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def find(cls, model_path: str, *, computed_here: bool = True) -> ModelFiles:
        """Find the model's files, without its weights if it is computed elsewhere.

        Raises InputError if it is no model that can be served.
        """
        # Absolute: a workflow may change the working directory before everything is loaded.
        directory = resolve_model(model_path, weights=computed_here).absolute()
        config = load_config(directory)
        if computed_here:
            check_architecture(config)
        return cls(directory, config, load_tokenizer(directory))

    @classmethod
    def of_tuned(cls, config: Config) -> ModelFiles:
        """Find those of the model that a configuration tunes; else as `find`."""
        path = config.trained_model().model_path
        return cls.find(path, computed_here=not config.model.tinker.enable)

    def end_token_ids(self) -> list[int]:
        """What the model's own generation configuration stops at."""
        if not (self.directory / "generation_config.json").is_file():
            return []
        ends = GenerationConfig.from_pretrained(self.directory).eos_token_id
        return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def default_device() -> torch.device:
    """The accelerator if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def sampling_dtype(settings: ChatModelSettings, device: torch.device) -> torch.dtype:
    """The precision that a model is sampled in."""
    if settings.dtype == "auto":
        return default_dtype(device)
    dtype: torch.dtype = getattr(torch, settings.dtype)
    return dtype


def training_dtype(config: Config, device: torch.device) -> torch.dtype:
    """The precision that the learner computes in: no float16, whose gradients become 0."""
    if config.trainer.dtype != "auto":
        dtype: torch.dtype = getattr(torch, config.trainer.dtype)
        return dtype
    sampling = sampling_dtype(config.trained_model(), device)
    return torch.float32 if sampling == torch.float16 else sampling


def start_sampler(
    settings: ChatModelSettings,
    files: ModelFiles,
    weights: Mapping[str, Tensor] | None,
    device: torch.device,
    deterministic: bool,
) -> QueuedSampler:
    """A sampler with these weights; None: those of the files, and no learner is beside it.

    Raises InputError if vLLM is to sample and cannot.
    """
    if _samples_with_vllm(settings, device):
        if deterministic:
            raise InputError(
                "deterministic has no counterpart in vLLM, whose draws depend on what runs beside "
                "them: take engine_type torch."
            )
        return VllmSampler(
            files.directory,
            weights,
            files.tokenizer,
            VllmSettings(**settings.vllm),
            device=device,
            dtype=sampling_dtype(settings, device),
            max_model_len=max_length(settings, files.config),
            cache_bytes=settings.kv_cache_memory_bytes,
            shares_device=weights is not None,
        )
    if weights is None:
        loaded = load_model(files.directory, sampling_dtype(settings, device))
        weights = dict(loaded.named_parameters())
    return TorchSampler(
        files.config,
        weights,
        files.tokenizer,
        device=device,
        dtype=sampling_dtype(settings, device),
        max_model_len=max_length(settings, files.config),
        cache_bytes=settings.kv_cache_memory_bytes,
        deterministic=deterministic,
    )


def _samples_with_vllm(settings: ChatModelSettings, device: torch.device) -> bool:
    """On a machine without a GPU a configuration made for vLLM runs without it."""
    if settings.engine_type != "vllm":
        return False
    if installed_version() is None and device.type != "cuda":
        _log.warning(
            "engine_type is vllm, which is not installed here: torch samples %s, and what is set "
            "for vLLM alone has no meaning",
            settings.model_path,
        )
        return False
    return True


def serve(
    name: str, settings: ChatModelSettings, files: ModelFiles, sampler: Sampler
) -> ServedModel:
    """Make a sampler ready to be called by a name, with the configured defaults."""
    return serve_model(
        name,
        sampler,
        files.tokenizer,
        model_type=files.config.model_type,
        max_tokens=settings.max_response_tokens,
        max_prompt_tokens=settings.max_prompt_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        enable_thinking=settings.enable_thinking,
        tool_call_parser=settings.tool_call_parser,
        reasoning_parser=settings.reasoning_parser,
        eos_token_ids=files.end_token_ids(),
    )


def renderer_of(settings: ChatModelSettings, files: ModelFiles) -> ChatRenderer:
    """The model's chat renderer, as `serve` makes it; raises InputError as that does."""
    return create_chat_renderer(
        files.tokenizer,
        model_type=files.config.model_type,
        tool_call_parser=settings.tool_call_parser,
        reasoning_parser=settings.reasoning_parser,
        enable_thinking=settings.enable_thinking,
        eos_token_ids=files.end_token_ids(),
    )


def max_length(settings: ChatModelSettings, config: PreTrainedConfig) -> int:
    """Most tokens of a prompt and its answer. Raises InputError if the model has fewer."""
    known: int = config.get_text_config().max_position_embeddings
    wanted = settings.max_model_len or known
    if wanted > known:
        raise InputError(
            f"max_model_len is {wanted}, but {settings.model_path} was made for at most "
            f"{known} tokens."
        )
    return wanted


def auxiliary_models(
    settings: Mapping[str, ChatModelSettings],
    device: torch.device,
    deterministic: bool,
    opened: AsyncExitStack,
) -> dict[str, ServedModel | RemoteModel]:
    """The models that are not tuned; equal paths share one sampler, which `opened` closes."""
    samplers: dict[tuple[str, str, int | None, str], QueuedSampler] = {}
    models: dict[str, ServedModel | RemoteModel] = {}
    for name, model in settings.items():
        if model.base_url is not None:
            models[name] = _remote(name, model)
            continue
        files = ModelFiles.find(model.model_path)
        key = (model.model_path, model.dtype, model.max_model_len, model.engine_type)
        if key not in samplers:
            samplers[key] = start_sampler(model, files, None, device, deterministic)
            opened.push_async_callback(samplers[key].close)
        models[name] = serve(name, model, files, samplers[key])
    return models


def _remote(name: str, settings: ChatModelSettings) -> RemoteModel:
    assert settings.base_url is not None
    connection = Connection(
        settings.model_path,
        settings.base_url,
        api_key(name, settings),
        context_size=settings.max_model_len,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k if settings.top_k > 0 else None,
        max_tokens=settings.max_response_tokens,
    )
    return RemoteModel(name, connection)
