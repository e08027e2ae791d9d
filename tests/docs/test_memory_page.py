"""The arithmetic of the page on memory is that of the estimate which a run is refused by."""

from __future__ import annotations

import re

import pytest
import torch
from pages import ROOT, text_of
from transformers import LlamaConfig, PreTrainedConfig, Qwen3Config

from agentscope_tuner.inference.memory import count_parameters
from agentscope_tuner.training.lora import LoraSettings
from agentscope_tuner.training.memory import critic_bytes, tuning_bytes

PAGE = text_of(ROOT / "docs" / "memory.md")
SIZES = dict(re.findall(r"^\| ([\w.-]+-[\d.]+[MB]) \| (.*) \|$", PAGE, re.MULTILINE))


def qwen3(hidden: int, feed_forward: int, layers: int, heads: int, *, tied: bool) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=151_936,
        hidden_size=hidden,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=tied,
    )


MODELS: dict[str, PreTrainedConfig] = {
    "SmolLM2-135M": LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    ),
    "Qwen3-0.6B": qwen3(1024, 3072, 28, 16, tied=True),
    "Qwen3-1.7B": qwen3(2048, 6144, 28, 16, tied=True),
    "Qwen3-4B": qwen3(2560, 9728, 36, 32, tied=True),
    "Qwen3-8B": qwen3(4096, 12_288, 36, 32, tied=False),
}
BF16 = torch.bfloat16
RANK_16 = LoraSettings(rank=16)


@pytest.mark.parametrize("model", MODELS)
def test_sizes_are_those_of_the_estimate(model: str) -> None:
    """Learner and sampler, without what tokens take."""
    config = MODELS[model]
    parameters = count_parameters(config)
    full, adapters = (
        sum(tuning_bytes(config, BF16, lora, reference=False).values()) + 2 * parameters
        for lora in (None, RANK_16)
    )
    row = f"{parameters / 1e9:.2f}B | {full / 1e9:.1f} | {adapters / 1e9:.1f}"
    assert SIZES[model] == row


def test_multiples_of_the_parameters_are_those_of_the_estimate() -> None:
    config = MODELS["SmolLM2-135M"]
    parameters = count_parameters(config)
    full = tuning_bytes(config, BF16, None, reference=True)
    assert {name: size / parameters for name, size in full.items()} == {
        "weights": 6,
        "gradients": 4,
        "optimizer": 8,
        "reference": 2,
    }
    adapted = tuning_bytes(config, BF16, RANK_16, reference=True)
    assert (adapted["frozen weights"] + adapted["merged"]) / parameters == 4
    assert "reference" not in adapted
    assert critic_bytes(config, BF16, None) / parameters == 18


def test_the_models_of_the_page_are_those_of_this_test() -> None:
    assert list(SIZES) == list(MODELS)
