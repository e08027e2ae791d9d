"""What vLLM draws is reported as the torch sampler reports it, and is what the learner computes."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llguidance import LLMatcher
from tiny_models import reference_logps, support_ids
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.inference.base import Completion, SamplingParams
from agentscope_tuner.inference.vllm_sampler import VllmSampler
from agentscope_tuner.penalties import Penalties
from agentscope_tuner.training.learner import LocalLearner
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled, Segment, Trajectory

PROMPT = list(range(100, 400))
"""Longer than two pages of vLLM's on a processor, which have 128 tokens."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05}
"""Nats between sampler and learner."""


@pytest.fixture(scope="module")
def weights(tiny_model: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def learner(weights: PreTrainedModel, sampler: VllmSampler) -> LocalLearner:
    """In the precision of the sampler."""
    return LocalLearner(
        weights, optimizer=OptimizerSettings(lr=1e-3), compute_dtype=precision(sampler)
    )


def precision(sampler: VllmSampler) -> torch.dtype:
    return sampler._runner._engine._engine.model_config.dtype


def learners_logprobs(learner: LocalLearner, drawn: Completion, **known: Any) -> list[float]:
    sampled = Sampled(
        drawn.logprobs, drawn.forced, "m", drawn.version, supports=drawn.supports, **known
    )
    tree = [Segment(None, PROMPT), Segment(0, drawn.token_ids, sampled)]
    rollout = Rollout("r", {}, Trajectory(tree), advantage=1.0)
    batch = Batch([RolloutGroup("g", {}, [rollout])])
    learner.forward(batch, {"current"})
    return batch.columns["current"].tolist()


def of_free_ones(drawn: Completion) -> list[float]:
    return [p for p, forced in zip(drawn.logprobs, drawn.forced, strict=True) if not forced]


async def test_logprobs_are_the_learners_before_and_after_an_update(
    sampler: VllmSampler, learner: LocalLearner
) -> None:
    near = TOLERANCE[precision(sampler)]
    for version in (1, 2):
        await sampler.load_weights(learner.weights(), version)
        drawn = await sampler.sample(PROMPT, SamplingParams(30, temperature=0.7))
        assert (drawn.version, drawn.finish_reason) == (version, "length")
        expected = learners_logprobs(learner, drawn, temperature=0.7)
        assert drawn.logprobs == pytest.approx(expected, abs=near)
        before = expected
        with torch.no_grad():
            for weight in learner.model.parameters():
                weight += 0.05 * torch.randn(weight.shape, generator=torch.manual_seed(version))
        moved = np.subtract(learners_logprobs(learner, drawn, temperature=0.7), before)
        assert np.abs(moved).max() > 4 * near  # so that old weights would be noticed


async def test_a_shared_beginning_is_computed_once_and_never_under_other_weights(
    sampler: VllmSampler, learner: LocalLearner
) -> None:
    await sampler.load_weights(learner.weights(), 3)
    params = SamplingParams(4)
    assert (await sampler.sample(PROMPT, params)).cached_tokens == 0
    again = await asyncio.gather(*(sampler.sample(PROMPT, params) for _ in range(4)))
    assert [drawn.cached_tokens for drawn in again] == [256] * 4
    await sampler.load_weights(learner.weights(), 4)
    assert (await sampler.sample(PROMPT, params)).cached_tokens == 0


async def test_who_runs_ends_under_the_weights_it_began_with(
    sampler: VllmSampler, learner: LocalLearner
) -> None:
    old = sampler.version
    began = asyncio.Event()
    first = asyncio.ensure_future(
        sampler.sample(PROMPT, SamplingParams(40), lambda token: began.set())
    )
    await began.wait()
    loading = asyncio.ensure_future(sampler.load_weights(learner.weights(), old + 1))
    await asyncio.sleep(0)
    second = await sampler.sample(PROMPT, SamplingParams(2))
    await loading
    assert ((await first).version, second.version) == (old, old + 1)
    assert len((await first).token_ids) == 40


@pytest.mark.parametrize(
    "wanted",
    [
        {"top_p": 0.5, "temperature": 1.5},
        {"top_k": 5},
        {"min_p": 0.99},
        {"penalties": Penalties(repetition=1.3, presence=0.4, bias=((120, 6.0),)), "top_p": 0.9},
    ],
    ids=str,
)
async def test_what_could_have_been_drawn_is_known(
    sampler: VllmSampler, learner: LocalLearner, wanted: dict[str, Any]
) -> None:
    await sampler.load_weights(learner.weights(), sampler.version + 1)
    drawn = await sampler.sample(PROMPT, SamplingParams(12, **wanted))
    assert set(drawn.supports) == set(range(12))
    assert all(token in support_ids(drawn.supports[at]) for at, token in enumerate(drawn.token_ids))
    known = {name: wanted[name] for name in ("temperature", "penalties") if name in wanted}
    expected = learners_logprobs(learner, drawn, **known)
    assert of_free_ones(drawn) == pytest.approx(expected, abs=TOLERANCE[precision(sampler)])


async def test_temperature_zero_is_greedy_and_nothing_is_learnt_of_it(
    sampler: VllmSampler, learner: LocalLearner, tiny_model: Path
) -> None:
    await sampler.load_weights(learner.weights(), sampler.version + 1)
    drawn = await sampler.sample(PROMPT, SamplingParams(8, temperature=0.0))
    assert (drawn.logprobs, drawn.forced) == ([0.0] * 8, [True] * 8)
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    plain.load_state_dict(dict(learner.weights()), strict=False)
    logps = reference_logps(plain, PROMPT, drawn.token_ids)
    lost = logps.max(-1).values - logps.gather(1, torch.tensor(drawn.token_ids)[:, None])[:, 0]
    assert lost.max() < TOLERANCE[precision(sampler)]


async def test_a_grammar_is_followed_and_its_probabilities_are_known(
    sampler: VllmSampler, learner: LocalLearner, tokenizer: PreTrainedTokenizerBase
) -> None:
    await sampler.load_weights(learner.weights(), sampler.version + 1)
    grammar = LLMatcher.grammar_from_regex("(yes|no), [0-9]{3}")
    drawn = await sampler.sample(PROMPT, SamplingParams(40, grammar=grammar))
    text = tokenizer.decode(drawn.token_ids[:-1])
    assert re.fullmatch("(yes|no), [0-9]{3}", text), text
    assert drawn.token_ids[-1] == tokenizer.eos_token_id
    assert (drawn.finish_reason, drawn.forced[-1]) == ("stop", True)
    expected = learners_logprobs(learner, drawn)
    assert of_free_ones(drawn) == pytest.approx(expected, abs=TOLERANCE[precision(sampler)])


async def test_a_bad_grammar_harms_nobody(sampler: VllmSampler) -> None:
    with pytest.raises(ValueError, match="not a usable grammar"):
        await sampler.sample(PROMPT, SamplingParams(4, grammar="not one"))
    assert len((await sampler.sample(PROMPT, SamplingParams(2))).token_ids) == 2


async def test_many_grammars_and_plain_requests_run_beside_each_other(
    sampler: VllmSampler, tokenizer: PreTrainedTokenizerBase
) -> None:
    def wanted(number: int) -> SamplingParams:
        digits = 1 + number % 4
        grammar = LLMatcher.grammar_from_regex(f"[0-9]{{{digits}}}") if number % 2 else None
        return SamplingParams(3 + number, grammar=grammar)

    drawn = await asyncio.gather(
        *(sampler.sample(PROMPT[: 10 + number], wanted(number)) for number in range(12))
    )
    for number, completion in enumerate(drawn):
        if number % 2:
            text = tokenizer.decode(completion.token_ids[:-1])
            assert re.fullmatch(f"[0-9]{{{1 + number % 4}}}", text), text
        else:
            assert (len(completion.token_ids), completion.supports) == (3 + number, {})


async def test_a_cancelled_request_ends_at_once(sampler: VllmSampler) -> None:
    began = asyncio.Event()
    task = asyncio.ensure_future(
        sampler.sample(PROMPT[:20], SamplingParams(480), lambda token: began.set())
    )
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    sampled = sampler.stats()["sampled_tokens"]
    await sampler.sample(PROMPT, SamplingParams(1))
    assert sampler.stats()["running"] == 0
    assert sampler.stats()["sampled_tokens"] < sampled + 100


async def test_what_nobody_wants_is_abandoned(sampler: VllmSampler) -> None:
    tokens: list[int] = []
    drawn = await sampler.sample(
        PROMPT, SamplingParams(400), tokens.append, lambda: len(tokens) >= 3
    )
    assert drawn.finish_reason == "abandoned"
    assert 3 <= len(drawn.token_ids) < 400


async def test_stop_tokens_and_stop_strings_end_an_answer(
    sampler: VllmSampler, tokenizer: PreTrainedTokenizerBase
) -> None:
    params = SamplingParams(20, temperature=0.0)
    tokens = (await sampler.sample(PROMPT, params)).token_ids
    stopped = await sampler.sample(
        PROMPT, SamplingParams(20, temperature=0.0, stop_token_ids=(tokens[4],))
    )
    assert stopped.token_ids == tokens[: tokens.index(tokens[4]) + 1]
    text = str(tokenizer.decode(tokens[2:4]))
    by_text = await sampler.sample(PROMPT, SamplingParams(20, temperature=0.0, stop=(text,)))
    assert (stopped.finish_reason, by_text.finish_reason) == ("stop", "stop")
    assert by_text.token_ids == tokens[: len(by_text.token_ids)]
    assert text in str(tokenizer.decode(by_text.token_ids))
