"""Samplers over tiny random models."""

from collections.abc import AsyncIterator, Callable

import pytest
import torch
from tiny_models import letter_tokenizer, tiny_model
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from agentscope_tuner.inference.torch_sampler import TorchSampler


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
