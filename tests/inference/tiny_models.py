"""Tiny random models of every family that the decoder knows, and transformers' word on them."""

import string
from collections.abc import Callable

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from agentscope_tuner.inference.base import Support

LETTERS = string.ascii_lowercase + string.digits + ' {}":,.'
SIZES = {
    "vocab_size": len(LETTERS) + 1,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**SIZES),
    "llama-scaled-rope": lambda: LlamaConfig(
        **SIZES, rope_parameters=LLAMA3_ROPE, attention_bias=True, mlp_bias=True
    ),
    "mistral-window": lambda: MistralConfig(**SIZES, sliding_window=7),
    "qwen2": lambda: Qwen2Config(**SIZES, tie_word_embeddings=True),
    "qwen3": lambda: Qwen3Config(**SIZES, head_dim=16),
    "gemma3-window": lambda: Gemma3TextConfig(
        **SIZES,
        head_dim=16,
        sliding_window=7,
        sliding_window_pattern=2,
        query_pre_attn_scalar=20,
    ),
}


def tiny_model(family: str, seed: int = 0) -> PreTrainedModel:
    """A random model whose every parameter, norms and biases too, makes a difference."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[family]()).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def letter_tokenizer() -> PreTrainedTokenizerFast:
    """One token a letter; the last id, `<end>`, ends a turn."""
    vocabulary = {"Ġ" if letter == " " else letter: i for i, letter in enumerate(LETTERS)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


def random_prompts(count: int, length: int = 20, seed: int = 0) -> list[list[int]]:
    """Random token ids; no padding token among them, which `generate` would hide."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, len(LETTERS), (count, length), generator=generator).tolist()


def reference_greedy(model: PreTrainedModel, prompt: list[int], count: int) -> list[int]:
    """What `transformers.generate` answers at temperature 0."""
    ids = model.generate(torch.tensor([prompt]), max_new_tokens=count, do_sample=False)
    return ids[0, len(prompt) :].tolist()


def reference_logps(
    model: PreTrainedModel, prompt: list[int], completion: list[int], temperature: float = 1.0
) -> torch.Tensor:
    """Log-probabilities `[token, vocabulary]` of a completion, by transformers, in one pass."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    return (logits.float() / temperature).log_softmax(-1)


def of_tokens(logps: torch.Tensor, tokens: list[int]) -> list[float]:
    """The log-probabilities of the tokens themselves."""
    return logps.gather(1, torch.tensor(tokens)[:, None])[:, 0].tolist()


def support_ids(support: Support) -> list[int]:
    """A support in either form as sorted token ids."""
    if support.dtype == np.int32:
        return support.tolist()
    return np.flatnonzero(np.unpackbits(support, bitorder="little")).tolist()
