"""Models of random weights, larger than the one that is here to be had, and a program for them."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from models import MODEL
from transformers import LlamaConfig, LlamaForCausalLM

from agentscope_tuner.inference.loading import load_tokenizer, resolve_model

SHAPES = {
    "0.5B": {"hidden_size": 896, "num_hidden_layers": 32, "intermediate_size": 4864}
    | {"num_attention_heads": 14, "num_key_value_heads": 2},
    "1.7B": {"hidden_size": 2048, "num_hidden_layers": 24, "intermediate_size": 8192}
    | {"num_attention_heads": 32, "num_key_value_heads": 32},
}
"""Of Qwen2.5-0.5B, with layers in place of its larger vocabulary, and of SmolLM2-1.7B."""
SHAPES["a quarter of 1.7B"] = SHAPES["1.7B"] | {"num_hidden_layers": 6}

PROGRAM = Path(__file__).parent / "contestants" / "by_chance.py"


def write_project(directory: Path, shape: str) -> None:
    """A model, and the program that tunes it."""
    write_model(directory / "model", shape)
    shutil.copy(PROGRAM, directory / "main.py")


def write_model(directory: Path, shape: str) -> None:
    """A model of random weights with SmolLM2's tokenizer."""
    tokenizer = load_tokenizer(resolve_model(MODEL))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        tie_word_embeddings=True,
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
        dtype="bfloat16",
        **SHAPES[shape],
    )
    torch.set_default_dtype(torch.bfloat16)
    LlamaForCausalLM(config).save_pretrained(directory)
    torch.set_default_dtype(torch.float32)
    tokenizer.save_pretrained(directory)
