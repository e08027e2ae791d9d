"""Requests that come and go, share their beginnings and compete for memory stay right."""

import asyncio
import random

import numpy as np
import pytest
import torch
from tiny_models import of_tokens, random_prompts, reference_greedy, reference_logps, tiny_model

from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.base import SamplingParams
from agentscope_tuner.inference.model_runner import ModelRunner
from agentscope_tuner.inference.pages import PAGE_TOKENS
from agentscope_tuner.inference.request import Request
from agentscope_tuner.trajectory import Sampled

GREEDY = SamplingParams(max_tokens=24, temperature=0.0)


async def test_requests_that_join_and_leave_do_not_change_each_other(model, make_sampler):
    sampler = make_sampler(prefill_tokens_per_step=8)
    prompts = random_prompts(12, length=30)

    async def late(i: int):
        await asyncio.sleep(0.004 * i)
        params = SamplingParams(max_tokens=5 + 3 * i, temperature=0.0)
        return await sampler.sample(prompts[i][: 5 + 2 * i], params)

    completions = await asyncio.gather(*map(late, range(12)))
    for i, completion in enumerate(completions):
        expected = reference_greedy(model, prompts[i][: 5 + 2 * i], 5 + 3 * i)
        assert completion.token_ids == expected


async def test_a_group_has_its_prompt_computed_once(model, make_sampler):
    sampler = make_sampler(prefill_tokens_per_step=16)
    prompt = random_prompts(1, length=50)[0]
    params = SamplingParams(max_tokens=8)
    group = await asyncio.gather(*(sampler.sample(prompt, params) for _ in range(8)))
    # Each of the other seven computes the last prompt token, for the logits behind it.
    assert sampler.stats()["prefill_tokens"] == 50 + 7
    assert sorted(c.cached_tokens for c in group) == [0] + [49] * 7
    assert len({tuple(c.token_ids) for c in group}) == 8
    for completion in group:
        expected = of_tokens(
            reference_logps(model, prompt, completion.token_ids), completion.token_ids
        )
        assert completion.logprobs == pytest.approx(expected, abs=1e-4)


async def test_prompts_with_a_common_beginning_compute_it_once(make_sampler):
    sampler = make_sampler(prefill_tokens_per_step=64)
    common = random_prompts(1, length=3 * PAGE_TOKENS)[0]
    ends = random_prompts(6, length=5, seed=1)
    await asyncio.gather(*(sampler.sample(common + end, GREEDY) for end in ends))
    assert sampler.stats()["prefill_tokens"] <= len(common) + 6 * (5 + PAGE_TOKENS)
    assert sampler.stats()["cached_tokens"] >= 5 * len(common)


async def test_the_next_turn_goes_on_from_its_own_cache(model, make_sampler):
    sampler = make_sampler()
    prompt, observation = random_prompts(2, length=21)
    first = await sampler.sample(prompt, GREEDY)
    conversation = prompt + first.token_ids + observation
    second = await sampler.sample(conversation, GREEDY)
    # All but the last sampled token, which nothing was drawn behind.
    assert second.cached_tokens == len(prompt) + len(first.token_ids) - 1
    assert second.token_ids == reference_greedy(model, conversation, 24)


async def test_a_branch_in_the_middle_of_a_page_shares_what_comes_before(model, make_sampler):
    sampler = make_sampler()
    prompt = random_prompts(1, length=40)[0]
    await sampler.sample(prompt, GREEDY)
    branch = [*prompt[:25], (prompt[25] + 1) % 30, *prompt[26:]]
    completion = await sampler.sample(branch, GREEDY)
    assert completion.cached_tokens == 25
    assert completion.token_ids == reference_greedy(model, branch, 24)
    again = await sampler.sample(prompt, GREEDY)  # the branch has not written over it
    assert again.token_ids == reference_greedy(model, prompt, 24)


async def test_64_requests_with_random_cancellations_stay_right(model, make_sampler):
    sampler = make_sampler(prefill_tokens_per_step=32, max_running=24)
    chance = random.Random(0)
    starts = random_prompts(8, length=20)
    prompts = [starts[i % 8] + end for i, end in enumerate(random_prompts(64, length=6, seed=2))]
    tasks = [asyncio.create_task(sampler.sample(p, SamplingParams(max_tokens=30))) for p in prompts]
    doomed = set(chance.sample(range(64), 20))
    for i in doomed:
        await asyncio.sleep(chance.random() * 0.01)
        tasks[i].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for i, (prompt, outcome) in enumerate(zip(prompts, outcomes, strict=True)):
        if isinstance(outcome, asyncio.CancelledError):
            assert i in doomed
            continue
        logps = reference_logps(model, prompt, outcome.token_ids)
        expected = of_tokens(logps, outcome.token_ids)
        assert outcome.logprobs == pytest.approx(expected, abs=1e-4)
    assert sampler.stats()["running"] == sampler.stats()["waiting"] == 0


async def test_cancelling_frees_the_place_for_the_next(make_sampler):
    sampler = make_sampler(max_running=1)
    (prompt,) = random_prompts(1)
    endless = asyncio.create_task(sampler.sample(prompt, SamplingParams(max_tokens=200)))
    await asyncio.sleep(0.02)
    endless.cancel()
    await asyncio.wait_for(sampler.sample(prompt, SamplingParams(max_tokens=2)), timeout=20)


async def test_a_cache_too_small_for_all_makes_requests_wait_not_fail(model, make_sampler):
    token_bytes = 2 * 3 * 2 * 8 * 4  # keys and values, layers, heads, dimensions, bytes
    sampler = make_sampler(max_model_len=96, cache_bytes=token_bytes * PAGE_TOKENS * 9)
    prompts = random_prompts(6, length=30)
    params = SamplingParams(max_tokens=60, temperature=0.0)
    completions = await asyncio.gather(*(sampler.sample(p, params) for p in prompts))
    for prompt, completion in zip(prompts, completions, strict=True):
        assert completion.token_ids == reference_greedy(model, prompt, 60)


async def test_a_completion_says_which_weights_sampled_each_of_its_tokens(model, tokenizer):
    """A request that lost its pages goes on under the weights that came meanwhile."""
    loop = asyncio.get_running_loop()
    engine = ModelRunner(
        model.config,
        model.state_dict(),
        tokenizer,
        device=torch.device("cpu"),
        dtype=torch.float32,
        max_model_len=96,
        max_running=6,
        prefill_tokens=256,
        cache_bytes=2 * 3 * 2 * 8 * 4 * PAGE_TOKENS * 9,
        deterministic=False,
    )
    updated = tiny_model("llama", seed=1)
    requests = [
        Request(
            prompt_length=30,
            tokens=list(prompt),
            max_tokens=60,
            params=SamplingParams(max_tokens=60),
            random=np.random.default_rng(seed),
            grammar=None,
            loop=loop,
            future=loop.create_future(),
            on_token=None,
        )
        for seed, prompt in enumerate(random_prompts(6, length=30))
    ]
    queue = engine.scheduler
    queue.waiting.extend(requests)
    while not any(request.draws for request in queue.waiting):
        engine.step(admit=True)
    while queue.running:
        engine.step(admit=False)
    engine.load(updated.state_dict(), version=4)
    while queue.running or queue.waiting:
        engine.step(admit=True)
    completions = await asyncio.gather(*(request.future for request in requests))
    assert {tuple(versions_of(completion)) for completion in completions} >= {(0, 4), (4,)}
    for request, completion in zip(requests, completions, strict=True):
        prompt, answer = request.tokens[:30], completion.token_ids
        expected = {
            version: of_tokens(reference_logps(weights, prompt, answer), answer)
            for version, weights in ((0, model), (4, updated))
        }
        of_each = versions_of(completion, distinct=False)
        assert completion.logprobs == pytest.approx(
            [expected[version][at] for at, version in enumerate(of_each)], abs=1e-4
        )


def versions_of(completion, distinct=True):
    sampled = Sampled(completion.logprobs, completion.forced, "m", completion.version)
    sampled.version_changes = completion.version_changes
    return list(dict.fromkeys(sampled.token_versions())) if distinct else sampled.token_versions()


def test_a_cache_too_small_for_one_is_refused(make_sampler):
    with pytest.raises(InputError, match="cannot hold one sequence of 256 tokens"):
        make_sampler(cache_bytes=10_000)
