"""The torch sampler: a model runner with continuous batching."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from agentscope_tuner.inference.model_runner import ModelRunner, default_dtype
from agentscope_tuner.inference.queued_sampler import QueuedSampler


class TorchSampler(QueuedSampler):
    """A `Sampler` over one model, on a CPU or one GPU.

    Args:
        config: The model's Hugging Face configuration.
        weights: Tensors under their Hugging Face names, in any dtype; not kept.
        tokenizer: Decodes for stop strings and compiles grammars.
        device: `cpu` or `cuda[:n]`.
        dtype: Of weights, activations and cache; None: `default_dtype(device)`.
        max_model_len: Most tokens of prompt and completion; None: the model's own limit.
        max_running: Most requests in one step; more wait.
        prefill_tokens_per_step: Most prompt tokens that one step computes beside the decoding.
        cache_bytes: Memory for keys and values; None: a tenth of what is free.
        seed: Of the random numbers for requests without a seed of their own.
        deterministic: A request's completion, to the last bit, depends on nothing that runs beside
            it and on nothing that is cached. Slower.

    Raises:
        InputError: The architecture is unknown, the cache cannot hold one sequence, or
            `deterministic` is not possible here.
    """

    def __init__(
        self,
        config: PreTrainedConfig,
        weights: Mapping[str, Tensor],
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        max_model_len: int | None = None,
        max_running: int = 256,
        prefill_tokens_per_step: int = 256,
        cache_bytes: int | None = None,
        seed: int = 0,
        deterministic: bool = False,
    ) -> None:
        device = torch.device(device)
        longest = max_model_len or config.get_text_config().max_position_embeddings
        runner = ModelRunner(
            config,
            weights,
            tokenizer,
            device=device,
            dtype=dtype or default_dtype(device),
            max_model_len=longest,
            max_running=max_running,
            prefill_tokens=prefill_tokens_per_step,
            cache_bytes=cache_bytes,
            deterministic=deterministic,
        )
        super().__init__(
            runner,
            tokenizer,
            vocab_size=runner.decoder.architecture.vocab_size,
            max_model_len=longest,
            seed=seed,
        )
