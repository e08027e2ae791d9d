"""A sampler at a service samples what one on this machine does."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from pathlib import Path

import pytest
import pytest_asyncio
import small_tinker
import torch
from llguidance import LLMatcher
from small_tinker import Service
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.errors import InputError, RunError
from agentscope_tuner.inference import tinker_constrained
from agentscope_tuner.inference.base import RefusedSampling, SamplingParams
from agentscope_tuner.inference.grammar import GrammarError
from agentscope_tuner.inference.loading import load_config, load_model, load_tokenizer
from agentscope_tuner.inference.tinker_sampler import TinkerSampler
from agentscope_tuner.inference.tinker_service import TinkerService, TunedAtService
from agentscope_tuner.inference.torch_sampler import TorchSampler
from agentscope_tuner.penalties import Penalties

PROMPT = [5, 17, 3, 200, 31]
LONGEST = 64


@pytest.fixture(scope="module")
def session(service: Service, tiny_model: Path) -> TinkerService:
    return TinkerService(service.url, str(tiny_model))


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_model)


@pytest.fixture(scope="module")
def sampler(session: TinkerService, tokenizer: PreTrainedTokenizerBase) -> TinkerSampler:
    return TinkerSampler(session.untuned(), tokenizer, LONGEST, len(tokenizer))


@pytest_asyncio.fixture
async def local(tiny_model: Path) -> TorchSampler:
    model = load_model(tiny_model, torch.float32)
    sampler = TorchSampler(
        load_config(tiny_model),
        dict(model.named_parameters()),
        load_tokenizer(tiny_model),
        dtype=torch.float32,
        max_model_len=LONGEST,
    )
    yield sampler
    await sampler.close()


async def test_the_likeliest_tokens_are_the_same(
    sampler: TinkerSampler, local: TorchSampler
) -> None:
    greedy = SamplingParams(max_tokens=8, temperature=0)
    there, here = await asyncio.gather(sampler.sample(PROMPT, greedy), local.sample(PROMPT, greedy))
    assert (there.token_ids, there.logprobs, there.forced) == (
        here.token_ids,
        here.logprobs,
        here.forced,
    )
    assert there.finish_reason == here.finish_reason == "length"


async def test_logprobs_are_those_of_the_model(sampler: TinkerSampler, tiny_model: Path) -> None:
    params = SamplingParams(max_tokens=6, seed=1 << 40, top_logprobs=3)
    drawn = await sampler.sample(PROMPT, params)
    again = await sampler.sample(PROMPT, params)
    assert again.token_ids == drawn.token_ids
    logits = load_model(tiny_model, torch.float32)(torch.tensor([PROMPT + drawn.token_ids]))
    logp = torch.log_softmax(logits.logits[0, len(PROMPT) - 1 : -1], 1)
    expected = logp.gather(1, torch.tensor(drawn.token_ids)[:, None])[:, 0].tolist()
    assert drawn.logprobs == pytest.approx(expected, abs=1e-4)
    assert [token for token, _ in drawn.top_logprobs[0]] == logp[0].topk(3).indices.tolist()
    assert not any(drawn.forced)


async def test_a_completion_ends_with_its_stop_token_or_string(sampler: TinkerSampler) -> None:
    free = await sampler.sample(PROMPT, SamplingParams(max_tokens=6, seed=1))
    token = free.token_ids[2]
    params = SamplingParams(max_tokens=6, seed=1, stop_token_ids=(token,))
    stopped = await sampler.sample(PROMPT, params)
    assert (stopped.token_ids, stopped.finish_reason) == (free.token_ids[:3], "stop")
    text = sampler._tokenizer.decode(free.token_ids[1:3])
    params = SamplingParams(max_tokens=6, seed=1, stop=(text,))
    stopped = await sampler.sample(PROMPT, params)
    assert (stopped.token_ids, stopped.finish_reason) == (free.token_ids[:3], "stop")
    assert len(stopped.logprobs) == len(stopped.forced) == 3


async def test_tokens_stream_and_may_be_abandoned(sampler: TinkerSampler) -> None:
    got: list[int] = []
    params = SamplingParams(max_tokens=6, seed=1)
    drawn = await sampler.sample(PROMPT, params, got.append, lambda: len(got) == 4)
    assert drawn.token_ids == got
    assert (len(got), drawn.finish_reason) == (4, "abandoned")


async def test_prompt_and_completion_never_exceed_the_models_length(
    sampler: TinkerSampler,
) -> None:
    drawn = await sampler.sample([7] * (LONGEST - 2), SamplingParams(max_tokens=6))
    assert (len(drawn.token_ids), drawn.finish_reason) == (2, "length")
    with pytest.raises(ValueError, match="leaves no room"):
        await sampler.sample([7] * LONGEST, SamplingParams(max_tokens=6))


SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}, "why": {"type": "string", "maxLength": 12}},
    "required": ["answer", "why"],
    "additionalProperties": False,
}


async def test_an_answer_has_its_form_and_each_token_its_probability_among_those_allowed(
    sampler: TinkerSampler, tokenizer: PreTrainedTokenizerBase, tiny_model: Path
) -> None:
    style = {"x-guidance": {"whitespace_flexible": False}}
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(SCHEMA | style))
    params = SamplingParams(
        max_tokens=48, seed=5, grammar=grammar, stop_token_ids=(tokenizer.eos_token_id,)
    )
    drawn = await sampler.sample(PROMPT, params)
    assert drawn.finish_reason == "stop"
    assert drawn.token_ids[-1] == tokenizer.eos_token_id
    answer = json.loads(tokenizer.decode(drawn.token_ids[:-1]))
    assert isinstance(answer["answer"], int)
    assert len(answer["why"]) <= 12
    logits = load_model(tiny_model, torch.float32)(torch.tensor([PROMPT + drawn.token_ids])).logits
    logp = torch.log_softmax(logits[0, len(PROMPT) - 1 : -1], 1)
    assert sum(drawn.forced) > 3
    assert len(drawn.supports) > 2
    for i, token in enumerate(drawn.token_ids):
        support = drawn.supports.get(i)
        if drawn.forced[i]:
            assert drawn.logprobs[i] == 0
            continue
        expected = logp[i, token]
        if support is not None:
            assert token in support
            expected = expected - logp[i, torch.from_numpy(support).long()].logsumexp(0)
        assert drawn.logprobs[i] == pytest.approx(expected.item(), abs=1e-4)
    again = await sampler.sample(PROMPT, params)
    assert again.token_ids == drawn.token_ids


async def test_one_of_few_is_drawn_as_often_as_the_model_has_it(
    sampler: TinkerSampler, tokenizer: PreTrainedTokenizerBase
) -> None:
    draws = await asyncio.gather(
        *(
            sampler.sample(PROMPT, SamplingParams(1, seed=seed, grammar='start: "a" | "b"'))
            for seed in range(30)
        )
    )
    counts = Counter(one.token_ids[0] for one in draws)
    p = {one.token_ids[0]: math.exp(one.logprobs[0]) for one in draws}
    assert sum(p.values()) == pytest.approx(1, abs=1e-4)
    for token, share in p.items():
        assert counts[token] / 30 == pytest.approx(share, abs=4 * math.sqrt(share / 30))


async def test_a_form_that_the_model_never_writes_is_given_up(
    sampler: TinkerSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tinker_constrained, "FEW", 1)
    monkeypatch.setattr(tinker_constrained, "MOST_TRIES", 3)
    with pytest.raises(GrammarError, match="3 samples at a Tinker service had no allowed token"):
        await sampler.sample(PROMPT, SamplingParams(4, seed=0, grammar='start: "a" | "b"'))


@pytest.mark.parametrize(
    ("named", "asked"),
    [
        ("temperature 0.7", {"temperature": 0.7}),
        ("top_p 0.9", {"top_p": 0.9}),
        ("top_k 5, min_p 0.1", {"top_k": 5, "min_p": 0.1}),
        ("penalties", {"penalties": Penalties(presence=1.0)}),
        ("log-probabilities of other tokens", {"grammar": "start: /a/", "top_logprobs": 2}),
    ],
)
async def test_what_the_service_knows_no_probability_of_is_refused(
    sampler: TinkerSampler, named: str, asked: dict
) -> None:
    with pytest.raises(RefusedSampling, match=named):
        await sampler.sample(PROMPT, SamplingParams(max_tokens=2, **asked))


async def test_a_failure_at_the_service_is_told_in_its_words(
    sampler: TinkerSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no memory is left")

    monkeypatch.setattr(small_tinker, "draw", broken)
    with pytest.raises(RunError, match=r"failed to sample: .*no memory is left"):
        await sampler.sample(PROMPT, SamplingParams(max_tokens=2))


async def test_each_token_is_of_the_weights_that_were_adopted_last(
    session: TinkerService, tokenizer: PreTrainedTokenizerBase, service: Service
) -> None:
    sampler = TinkerSampler(session.untuned(), tokenizer, LONGEST, len(tokenizer))
    training = session.begin(rank=2, seed=0, mlp=True, attention=True, unembed=True)
    run = list(service.trainings.values())[-1].run
    greedy = SamplingParams(max_tokens=8, temperature=0)
    before = await sampler.sample(PROMPT, greedy)
    with torch.no_grad():
        for weight in run.weights.values():
            weight.normal_(0, 0.5)
    await sampler.load_weights(TunedAtService(training), 3)
    with torch.no_grad():
        for weight in run.weights.values():
            weight.zero_()  # what the learner does next is for later versions
    after = await sampler.sample(PROMPT, greedy)
    assert (before.version, after.version, sampler.version) == (0, 3, 3)
    assert after.token_ids != before.token_ids


def test_a_model_that_the_service_does_not_have_is_named_with_those_it_has(
    service: Service, tiny_model: Path
) -> None:
    with pytest.raises(InputError, match=f"does not train other; its models are: {tiny_model}"):
        TinkerService(service.url, "other")


def test_a_wrong_key_is_said(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-wrong")
    with pytest.raises(InputError, match="the key is wrong"):
        TinkerService(service.url, "other")
    monkeypatch.delenv("TINKER_API_KEY")
    with pytest.raises(InputError, match="TINKER_API_KEY"):
        TinkerService(service.url, "other")
