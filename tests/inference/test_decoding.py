"""The sampler against transformers: the same tokens, the same log-probabilities."""

import asyncio

import pytest
import torch
from tiny_models import (
    CONFIGS,
    of_tokens,
    random_prompts,
    reference_greedy,
    reference_logps,
    tiny_model,
)
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentscope_tuner.inference.base import SamplingParams
from agentscope_tuner.inference.torch_sampler import TorchSampler

GREEDY = SamplingParams(max_tokens=40, temperature=0.0)


@pytest.mark.parametrize("family", CONFIGS)
async def test_greedy_tokens_are_those_of_generate(family, make_sampler):
    model, prompts = tiny_model(family), random_prompts(3)
    sampler = make_sampler(model, prefill_tokens_per_step=7)  # so that prompts come in chunks
    completions = await asyncio.gather(*(sampler.sample(p, GREEDY) for p in prompts))
    for prompt, completion in zip(prompts, completions, strict=True):
        assert completion.token_ids == reference_greedy(model, prompt, 40)
        assert completion.logprobs == [0.0] * 40
        assert completion.finish_reason == "length"


@pytest.mark.parametrize("family", CONFIGS)
async def test_logprobs_of_samples_are_those_of_transformers(family, make_sampler):
    model, prompts = tiny_model(family), random_prompts(4)
    sampler = make_sampler(model, prefill_tokens_per_step=16)
    params = SamplingParams(max_tokens=30, temperature=1.3)
    completions = await asyncio.gather(*(sampler.sample(p, params) for p in prompts))
    for prompt, completion in zip(prompts, completions, strict=True):
        logps = reference_logps(model, prompt, completion.token_ids, 1.3)
        expected = of_tokens(logps, completion.token_ids)
        assert completion.logprobs == pytest.approx(expected, abs=1e-4)
        assert completion.supports == {}
        assert completion.forced == [False] * 30


async def test_top_logprobs_are_the_most_likely_tokens(model, make_sampler):
    (prompt,) = random_prompts(1)
    params = SamplingParams(max_tokens=5, temperature=0.7, top_logprobs=3)
    completion = await make_sampler().sample(prompt, params)
    best = reference_logps(model, prompt, completion.token_ids, 0.7).topk(3)
    for position, reported in enumerate(completion.top_logprobs):
        assert [token for token, _ in reported] == best.indices[position].tolist()
        logps = best.values[position].tolist()
        assert [logp for _, logp in reported] == pytest.approx(logps, abs=1e-4)


async def test_multimodal_checkpoints_give_their_text_decoder(make_sampler, tokenizer):
    model = tiny_model("gemma3-window")
    names = {
        f"model.language_model.{name.removeprefix('model.')}": w
        for name, w in model.state_dict().items()
        if name != "lm_head.weight"
    }
    sampler = TorchSampler(model.config, names, tokenizer, dtype=torch.float32, cache_bytes=2**22)
    (prompt,) = random_prompts(1)
    completion = await sampler.sample(prompt, GREEDY)
    await sampler.close()
    assert completion.token_ids == reference_greedy(model, prompt, 40)


async def test_the_real_small_model_answers_as_it_does_in_transformers(smol_directory):
    model = AutoModelForCausalLM.from_pretrained(smol_directory, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(smol_directory)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is 2 + 3?"}], add_generation_prompt=True
    )["input_ids"]
    sampler = TorchSampler(
        model.config, model.state_dict(), tokenizer, dtype=torch.float32, max_model_len=256
    )
    end = (tokenizer.eos_token_id,)
    greedy = await sampler.sample(
        prompt, SamplingParams(max_tokens=12, temperature=0.0, stop_token_ids=end)
    )
    drawn = await sampler.sample(prompt, SamplingParams(max_tokens=12))
    await sampler.close()
    expected = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)
    assert greedy.token_ids == expected[0, len(prompt) :].tolist()
    logps = reference_logps(model, prompt, drawn.token_ids)
    assert drawn.logprobs == pytest.approx(of_tokens(logps, drawn.token_ids), abs=1e-4)
