"""Completions that must satisfy a grammar."""

import json
import re

import numpy as np
import pytest
import torch
from llguidance import LLMatcher
from tiny_models import random_prompts, reference_logps, support_ids

from agentscope_tuner.inference.base import SamplingParams

PROMPT = random_prompts(1)[0]


def regex(pattern: str, **wanted) -> SamplingParams:
    grammar = LLMatcher.grammar_from_regex(pattern)
    return SamplingParams(**{"max_tokens": 20, "grammar": grammar, **wanted})


async def test_logprobs_are_over_what_the_grammar_allowed(model, make_sampler, tokenizer):
    end = tokenizer.eos_token_id
    sampler = make_sampler()
    for seed in range(4):
        completion = await sampler.sample(PROMPT, regex("[abc]{2}(d|ef)", seed=seed))
        text = tokenizer.decode(completion.token_ids)
        assert re.fullmatch("[abc]{2}(d|ef)<end>", text)
        assert completion.finish_reason == "stop"
        logps = reference_logps(model, PROMPT, completion.token_ids)
        for i, token in enumerate(completion.token_ids):
            if completion.forced[i]:
                assert completion.logprobs[i] == 0
            else:
                choices = tokenizer.encode("abc" if i < 2 else "de")
                assert support_ids(completion.supports[i]) == choices
                expected = logps[i, token] - logps[i, choices].logsumexp(-1)
                assert completion.logprobs[i] == pytest.approx(float(expected), abs=1e-4)
        forced = [
            tokenizer.decode(t)
            for t, f in zip(completion.token_ids, completion.forced, strict=True)
            if f
        ]
        assert forced == (["<end>"] if text[2] == "d" else ["f", "<end>"])
        assert completion.token_ids[-1] == end


async def test_temperature_zero_takes_the_best_allowed_token(model, make_sampler):
    completion = await make_sampler().sample(PROMPT, regex("[abc]", temperature=0.0))
    best = reference_logps(model, PROMPT, [0])[0, :3].argmax()
    assert completion.token_ids[0] == int(best)


async def test_an_end_that_is_only_possible_may_be_drawn_or_not(make_sampler, tokenizer):
    sampler = make_sampler()
    lengths = set()
    for seed in range(20):
        completion = await sampler.sample(PROMPT, regex("a+", seed=seed, temperature=3.0))
        assert re.fullmatch("a+(<end>)?", tokenizer.decode(completion.token_ids))
        lengths.add(len(completion.token_ids))
    assert len(lengths) > 2


async def test_json_schemas_give_json(make_sampler, tokenizer):
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "maximum": 99}},
        "required": ["ok", "n"],
        "additionalProperties": False,
    }
    grammar = LLMatcher.grammar_from_json_schema(schema, {"whitespace_flexible": False})
    completion = await make_sampler().sample(
        PROMPT, SamplingParams(max_tokens=60, grammar=grammar, seed=1)
    )
    answer = json.loads(tokenizer.decode(completion.token_ids[:-1]))
    assert isinstance(answer["ok"], bool)
    assert answer["n"] <= 99


async def test_a_length_limit_inside_the_grammar_is_a_length_limit(make_sampler):
    completion = await make_sampler().sample(PROMPT, regex("[abc]{9}", max_tokens=4))
    assert len(completion.token_ids) == 4
    assert completion.finish_reason == "length"


async def test_a_grammar_that_ends_at_the_length_limit_has_ended(make_sampler):
    completion = await make_sampler().sample(PROMPT, regex("[abc]{4}", max_tokens=4))
    assert len(completion.token_ids) == 4
    assert completion.finish_reason == "stop"


async def test_an_unusable_grammar_is_refused_and_harms_nobody(make_sampler):
    sampler = make_sampler()
    with pytest.raises(ValueError, match="not a usable grammar"):
        await sampler.sample(PROMPT, regex("a(+"))
    assert len((await sampler.sample(PROMPT, regex("b"))).token_ids) == 2


async def test_supports_beyond_the_grammar_are_absent(make_sampler):
    completion = await make_sampler().sample(PROMPT, SamplingParams(max_tokens=3, top_p=0.5))
    assert set(completion.supports) == {0, 1, 2}
    assert all(isinstance(s, np.ndarray) for s in completion.supports.values())
    assert torch.tensor(completion.logprobs).le(0).all()
