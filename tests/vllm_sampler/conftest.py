"""vLLM as the sampler: collected only where it is installed (`make test-vllm`)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.inference.loading import load_tokenizer
from agentscope_tuner.inference.vllm_engine import VllmSettings
from agentscope_tuner.inference.vllm_installed import installed_version
from agentscope_tuner.inference.vllm_sampler import VllmSampler

collect_ignore_glob = [] if installed_version() else ["test_*.py"]
sys.path += [str(Path(__file__).parents[1] / room) for room in ("inference", "cluster")]


@pytest.fixture(scope="session")
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_model)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def sampler(
    request: pytest.FixtureRequest, tiny_model: Path, tokenizer: PreTrainedTokenizerBase
) -> Iterator[VllmSampler]:
    """One over the tiny model in each precision. It starts in half a minute."""
    made = VllmSampler(
        tiny_model,
        None,
        tokenizer,
        VllmSettings(),
        device=torch.device("cpu"),
        dtype=getattr(torch, request.param),
        max_model_len=512,
        cache_bytes=2**26,
    )
    yield made
    asyncio.run(made.close())
