"""Draws follow the distribution that was asked for, and report it."""

import numpy as np
import pytest
import torch
from tiny_models import support_ids

from agentscope_tuner.inference.base import LEAST_TEMPERATURE
from agentscope_tuner.inference.drawing import Distribution, as_support, draw
from agentscope_tuner.inference.kernels import compiled
from agentscope_tuner.inference.native import NativeOps
from agentscope_tuner.inference.ops import TorchOps

DRAWS = 20_000


def draw_many(logits: torch.Tensor, **wanted):
    """Many draws from one row of logits."""
    plain = TorchOps.draw.__get__(object())
    uniforms = np.random.default_rng(0).random(DRAWS)
    settings = {"temperature": 1.0, "top_p": 1.0, **wanted}
    distributions = [Distribution(uniform=float(u), **settings) for u in uniforms]
    return draw(logits.expand(DRAWS, -1), distributions, plain)


def chi_square(draws, p) -> float:
    """The statistic, divided by its degrees of freedom: about 1 if the draws follow `p`."""
    counts = torch.bincount(torch.tensor([d.token for d in draws]), minlength=len(p))
    kept = p > 0
    assert counts[~kept].sum() == 0
    expected = p[kept] * DRAWS
    return float(((counts[kept] - expected) ** 2 / expected).sum() / (kept.sum() - 1))


@pytest.fixture(scope="module")
def logits() -> torch.Tensor:
    return 2 * torch.randn(40, generator=torch.Generator().manual_seed(0))


def test_plain_draws_follow_the_temperature(logits):
    draws = draw_many(logits, temperature=0.7)
    p = (logits / 0.7).softmax(-1)
    assert chi_square(draws, p) < 1.5
    for d in draws[:100]:
        assert d.logprob == pytest.approx(float(p[d.token].log()), abs=1e-5)
        assert d.support is None
        assert not d.forced


def test_top_k_and_min_p_keep_the_likeliest_and_normalise_over_them(logits):
    p = logits.softmax(-1)
    for wanted, kept in (
        ({"top_k": 5}, p >= p.sort().values[-5]),
        ({"min_p": 0.2}, p >= 0.2 * p.max()),
        ({"min_p": 0.05, "top_k": 3}, p >= p.sort().values[-3]),
        ({"top_k": 100}, p > 0),
    ):
        expected = torch.where(kept, p, 0) / p[kept].sum()
        draws = draw_many(logits, **wanted)
        assert chi_square(draws, expected) < 1.6
        for d in draws[:100]:
            assert d.logprob == pytest.approx(float(expected[d.token].log()), abs=1e-5)
            assert support_ids(d.support) == kept.nonzero()[:, 0].tolist()
    assert all(d.forced for d in draw_many(logits, top_k=1)[:10])


def test_a_nucleus_is_the_smallest_set_that_reaches_top_p(logits):
    draws = draw_many(logits, top_p=0.8, temperature=1.2)
    p, order = (logits / 1.2).softmax(-1).sort(descending=True)
    count = int((p.cumsum(-1) < 0.8).sum()) + 1
    nucleus = torch.zeros(40)
    nucleus[order[:count]] = p[:count] / p[:count].sum()
    assert chi_square(draws, nucleus) < 1.5
    for d in draws[:100]:
        assert d.logprob == pytest.approx(float(nucleus[d.token].log()), abs=1e-5)
        assert support_ids(d.support) == sorted(order[:count].tolist())


def test_a_grammar_leaves_the_allowed_tokens_only(logits):
    allowed = torch.tensor([3, 17, 30, 39])
    p = torch.full((40,), -torch.inf).index_copy(0, allowed, logits[allowed]).softmax(-1)
    draws = draw_many(logits, allowed=bits(allowed))
    assert chi_square(draws, p) < 2
    for d in draws[:100]:
        assert d.logprob == pytest.approx(float(p[d.token].log()), abs=1e-5)
        assert support_ids(d.support) == allowed.tolist()
        assert not d.forced


def test_a_grammar_applies_before_the_nucleus(logits):
    allowed = torch.tensor([3, 17, 30, 39])
    p = torch.full((40,), -torch.inf).index_copy(0, allowed, logits[allowed]).softmax(-1)
    best = int(p.argmax())
    (first, *_) = draw_many(logits, allowed=bits(allowed), top_p=float(p[best]) / 2)
    assert (first.token, first.logprob) == (best, 0.0)
    assert support_ids(first.support) == [best]
    assert first.forced  # the grammar left a choice, the nucleus did not


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_only_allowed_token_is_forced(logits, temperature):
    (d, *_) = draw_many(logits, allowed=bits(torch.tensor([5])), temperature=temperature)
    assert (d.token, d.logprob, d.forced) == (5, 0.0, True)


def test_temperature_zero_takes_the_most_likely(logits):
    draws = draw_many(logits, temperature=0.0)
    assert {(d.token, d.logprob, d.forced) for d in draws} == {(int(logits.argmax()), 0.0, True)}


def test_a_token_is_forced_exactly_if_the_nucleus_held_no_other(logits):
    p = logits.softmax(-1).sort(descending=True).values
    for top_p, alone in ((float(p[0]) * 0.99, True), (float(p[0]) * 1.01, False)):
        draws = draw_many(logits, top_p=top_p)
        assert {d.forced for d in draws} == {alone}
        assert {d.logprob == 0 for d in draws} == {alone}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_the_lowest_temperature_is_numbers_all_the_way(dtype, top_p):
    """The bound below which a temperature is 0 leaves room for any logits of a model."""
    logits = torch.tensor([[-1e4, 3e4, 2.9e4, 0.0]] * 2, dtype=dtype)
    kernels = [TorchOps.draw.__get__(object())]
    if (library := compiled(dtype)) is not None:
        kernels.append(NativeOps(None, {}, library).draw)
    wishes = [Distribution(LEAST_TEMPERATURE, top_p, uniform) for uniform in (1e-9, 0.99)]
    for kernel in kernels:
        draws = draw(logits, wishes, kernel)
        assert [(d.token, d.logprob) for d in draws] == [(1, 0.0)] * 2


def test_rows_with_different_wishes_keep_their_order(logits):
    rows = torch.stack([logits.roll(i) for i in range(4)])
    wishes = [
        Distribution(0.0, 1.0, 0.5),
        Distribution(1.0, 1.0, 0.5),
        Distribution(1.0, 0.01, 0.5),
        Distribution(1.0, 1.0, 0.5),
    ]
    draws = draw(rows, wishes, TorchOps.draw.__get__(object()))
    assert draws[0].token == int(rows[0].argmax())
    assert draws[2].token == int(rows[2].argmax())
    for i in (1, 3):
        logp = rows[i].log_softmax(-1)[draws[i].token]
        assert draws[i].logprob == pytest.approx(float(logp), abs=1e-5)


def test_a_nucleus_wider_than_what_is_sorted_first():
    flat = torch.zeros(9000)
    plain = TorchOps.draw.__get__(object())
    (d,) = draw(flat[None], [Distribution(1.0, 0.9, 0.3)], plain)
    assert len(support_ids(d.support)) == 8100
    assert d.logprob == pytest.approx(-np.log(8100), abs=1e-4)


def test_supports_take_the_smaller_form():
    few, many = as_support(np.array([3, 9]), 1000), as_support(np.arange(500), 1000)
    assert few.dtype == np.int32
    assert many.dtype == np.uint8
    assert support_ids(few) == [3, 9]
    assert support_ids(many) == list(range(500))


def bits(ids: torch.Tensor) -> np.ndarray:
    mask = np.zeros(40, np.uint8)
    mask[ids.numpy()] = 1
    return np.packbits(mask, bitorder="little")
