"""The sampler against transformers: the same tokens, the same log-probabilities."""

import asyncio

import pytest
import torch

from agentscope_tuner.inference.base import SamplingParams
from conftest import CONFIGS, tiny_model

GREEDY = SamplingParams(max_tokens=40, temperature=0.0)


def reference_logprobs(model, prompt, completion, temperature=1.0):
    """Log-probabilities of a completion's tokens as transformers computes them, in one pass."""
    ids = torch.tensor([prompt + completion])
    with torch.no_grad():
        logps = (model(ids).logits[0, len(prompt) - 1 : -1] / temperature).log_softmax(-1)
    return logps.gather(1, torch.tensor(completion)[:, None])[:, 0].tolist()


def prompts(count, length=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 40, (count, length), generator=generator).tolist()


@pytest.mark.parametrize("family", CONFIGS)
async def test_greedy_tokens_are_those_of_generate(family, make_sampler):
    model = tiny_model(family)
    sampler = make_sampler(model, prefill_tokens_per_step=7)  # so that prompts come in chunks
    completions = await asyncio.gather(*(sampler.sample(p, GREEDY) for p in prompts(3)))
    for prompt, completion in zip(prompts(3), completions, strict=True):
        expected = model.generate(
            torch.tensor([prompt]), max_new_tokens=40, do_sample=False, eos_token_id=None
        )
        assert completion.token_ids == expected[0, len(prompt) :].tolist()
        assert completion.logprobs == [0.0] * 40
        assert completion.finish_reason == "length"


@pytest.mark.parametrize("family", CONFIGS)
async def test_logprobs_of_samples_are_those_of_transformers(family, make_sampler):
    model = tiny_model(family)
    sampler = make_sampler(model, prefill_tokens_per_step=16)
    params = SamplingParams(max_tokens=30, temperature=1.3)
    completions = await asyncio.gather(*(sampler.sample(p, params) for p in prompts(4)))
    for prompt, completion in zip(prompts(4), completions, strict=True):
        expected = reference_logprobs(model, prompt, completion.token_ids, 1.3)
        assert completion.logprobs == pytest.approx(expected, abs=1e-4)
        assert completion.supports == {}
        assert completion.forced == [False] * 30
