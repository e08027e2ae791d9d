"""A deterministic sampler: what runs beside a request, and what is cached, changes no bit of it."""

import asyncio

import pytest
import torch
from tiny_models import CONFIGS
from transformers import AutoModelForCausalLM, PreTrainedModel

from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.base import SamplingParams

BEGINNING = torch.randint(1, 40, (30,), generator=torch.Generator().manual_seed(1)).tolist()
ENDS = torch.randint(1, 40, (24, 12), generator=torch.Generator().manual_seed(2)).tolist()
PROMPTS = [BEGINNING + end[: 1 + i % 12] for i, end in enumerate(ENDS)]


def params(i: int) -> SamplingParams:
    return SamplingParams(max_tokens=5 + 7 * (i % 6), seed=i, top_p=0.9 if i % 5 == 4 else 1.0)


def kernel_sized(family: str) -> PreTrainedModel:
    """A tiny model whose heads the kernels take in bf16 too."""
    torch.manual_seed(0)
    config = CONFIGS[family]()
    config.head_dim = 32
    return AutoModelForCausalLM.from_config(config).eval()


def outcomes(completions):
    return [(c.token_ids, c.logprobs) for c in completions]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", ["qwen3", "gemma3-window"])
async def test_alone_and_together_are_the_same_bits(family, dtype, make_sampler):
    model = kernel_sized(family)
    alone = make_sampler(model, dtype=dtype, deterministic=True)
    one_by_one = [await alone.sample(p, params(i)) for i, p in enumerate(PROMPTS)]
    # A small cache and short chunks, so that prompts are cut, evicted and computed again.
    crowded = make_sampler(
        model, dtype=dtype, deterministic=True, prefill_tokens_per_step=7, cache_bytes=900_000
    )
    requests = [crowded.sample(p, params(i)) for i, p in enumerate(PROMPTS)]
    together = await asyncio.gather(*reversed(requests))
    assert outcomes(reversed(together)) == outcomes(one_by_one)


async def test_a_conversation_goes_on_with_the_same_bits_from_the_cache_and_without(make_sampler):
    model = kernel_sized("qwen3")
    first, second = (make_sampler(model, deterministic=True) for _ in range(2))
    turn = await first.sample(PROMPTS[0], params(5))
    follow_up = PROMPTS[0] + turn.token_ids + ENDS[0]
    cached = await first.sample(follow_up, params(5))
    fresh = await second.sample(follow_up, params(5))
    assert cached.cached_tokens > fresh.cached_tokens == 0
    assert outcomes([cached]) == outcomes([fresh])


def test_a_model_that_the_kernels_do_not_take_is_refused(make_sampler, model):
    with pytest.raises(InputError, match="multiple of 32"):
        make_sampler(model, deterministic=True)
