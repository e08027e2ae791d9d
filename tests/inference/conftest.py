"""Tiny random models of every family that the decoder knows, and a sampler over each."""

import string
from collections.abc import AsyncIterator, Callable

import pytest
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

from agentscope_tuner.inference.torch_engine import TorchSampler

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
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(LETTERS)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return letter_tokenizer()


@pytest.fixture(scope="session")
def model() -> PreTrainedModel:
    return tiny_model("llama")


@pytest.fixture
async def make_sampler(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> AsyncIterator[Callable[..., TorchSampler]]:
    """Make samplers over `model` (or another one) in fp32; all are closed at the end."""
    samplers: list[TorchSampler] = []

    def make(of: PreTrainedModel = model, **settings: object) -> TorchSampler:
        settings = {"dtype": torch.float32, "cache_bytes": 2**22, **settings}
        samplers.append(TorchSampler(of.config, of.state_dict(), tokenizer, **settings))
        return samplers[-1]

    yield make
    for sampler in samplers:
        await sampler.close()
