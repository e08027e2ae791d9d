"""Loss and gradients of packed trees against a plain computation, one branch at a time."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_training import (
    VOCABULARY,
    forward_backward,
    logprobs,
    make_learner,
    make_model,
    random_groups,
)

from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.penalties import Penalties
from agentscope_tuner.training import token_logprobs, tree_layout
from agentscope_tuner.training.packing import PackSize
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled, Segment, Trajectory

CLIP = 0.2
DUAL_CLIP = 3.0


def plain_logprobs(model, rollout):
    """(segment, index) -> ln p of each trained token, from the whole branch at once."""
    found = {}
    for number, segment in enumerate(rollout.trajectory.segments):
        if segment.sampled is None:
            continue
        ids = rollout.trajectory.token_ids(number)
        hidden = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        logits = hidden @ model.lm_head.weight.T
        first = len(ids) - len(segment.token_ids)
        for i, token in enumerate(segment.token_ids):
            if segment.sampled.forced[i] or segment.sampled.temperature == 0:
                continue
            row = logits[first + i - 1]
            if segment.sampled.penalties is not None:
                before = ids[: first + i]
                row = plain_penalised(row, before, segment.token_ids[:i], segment.sampled.penalties)
            row = row / segment.sampled.temperature
            support = segment.sampled.supports.get(i)
            if support is not None and support.dtype == np.uint8:
                support = np.flatnonzero(np.unpackbits(support, bitorder="little"))
            if support is None:
                normaliser = torch.logsumexp(row, 0)
            else:
                normaliser = torch.logsumexp(row[torch.from_numpy(support.astype(np.int64))], 0)
            found[number, i] = row[token] - normaliser
    return found


def plain_penalised(row, before, answer, penalties):
    """OpenAI's and CTRL's formulas, a token at a time."""
    values = list(row)
    for token in range(len(values)):
        if token in before:
            positive = values[token].item() > 0
            factor = 1 / penalties.repetition if positive else penalties.repetition
            values[token] = values[token] * factor
        count = answer.count(token)
        values[token] = values[token] - penalties.frequency * count
        values[token] = values[token] - penalties.presence * (count > 0)
        values[token] = values[token] + dict(penalties.bias).get(token, 0.0)
    return torch.stack(values)


def plain_loss(model, groups):
    """The clipped surrogate, token by token, as the mean over all trained tokens."""
    losses = []
    for group in groups:
        for rollout in group.rollouts:
            if rollout.advantage is None:
                continue
            for (number, i), logprob in plain_logprobs(model, rollout).items():
                old = rollout.trajectory.segments[number].sampled.logprobs[i]
                ratio = torch.exp(logprob - old)
                clipped = torch.clamp(ratio, 1 - CLIP, 1 + CLIP)
                loss = -torch.min(ratio * rollout.advantage, clipped * rollout.advantage)
                if rollout.advantage < 0:
                    loss = torch.clamp(loss, max=-DUAL_CLIP * rollout.advantage)
                losses.append(loss)
    return torch.stack(losses).mean()


def plain_gradients(model, groups, loss=plain_loss):
    model = copy.deepcopy(model)
    value = loss(model, groups)
    value.backward()
    return value.item(), {name: p.grad for name, p in model.named_parameters()}


def gradients(learner):
    return {name: weight.grad for name, weight in learner._masters.by_name.items()}


def assert_close(found, expected, tolerance=1e-5):
    assert found.keys() == expected.keys()
    scale = max(1.0, max(grad.abs().max().item() for grad in expected.values()))
    for name, grad in expected.items():
        torch.testing.assert_close(
            found[name], grad, rtol=tolerance, atol=tolerance * scale, msg=lambda m, n=name: n + m
        )


@pytest.mark.parametrize("max_tokens", [10_000, 25])
def test_loss_and_gradients_equal_those_of_the_branches_one_by_one(model, max_tokens):
    groups = random_groups(seed=1, temperature=0.8)
    learner = make_learner(model, pack_size=PackSize(max_tokens))
    metrics = forward_backward(learner, groups, get_algorithm())
    loss, expected = plain_gradients(model, groups)
    assert metrics["policy/loss"] == pytest.approx(loss, abs=1e-5)
    assert_close(gradients(learner), expected)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6), max_tokens=st.sampled_from([15, 40, 10_000]))
def test_any_tree_in_any_packing_gives_the_same_loss_and_gradients(seed, max_tokens):
    model = make_model("gemma3")
    groups = random_groups(seed)
    if not any(plain_logprobs(model, r) for g in groups for r in g.rollouts if r.advantage):
        return
    learner = make_learner(model, pack_size=PackSize(max_tokens))
    metrics = forward_backward(learner, groups, get_algorithm(algorithm_type="grpo"))
    loss, expected = plain_gradients(model, groups)
    assert metrics["policy/loss"] == pytest.approx(loss, abs=1e-5)
    assert_close(gradients(learner), expected)


def test_long_rows_that_span_many_tiles_are_exact(monkeypatch):
    model = make_model("gemma3")
    monkeypatch.setattr(tree_layout, "TILE", 4)
    monkeypatch.setattr(tree_layout, "KEY_STEP", 3)
    monkeypatch.setitem(tree_layout.BATCH_PAIRS, "cpu", 40)
    monkeypatch.setattr(token_logprobs, "CHUNK_BYTES", 4 * VOCABULARY * 7)
    monkeypatch.setitem(token_logprobs.BLOCK_BYTES, "cpu", 4 * VOCABULARY * 2)
    groups = random_groups(seed=5, groups=3)
    learner = make_learner(model)
    metrics = forward_backward(learner, groups, get_algorithm(algorithm_type="grpo"))
    loss, expected = plain_gradients(model, groups)
    assert metrics["policy/loss"] == pytest.approx(loss, abs=1e-5)
    assert_close(gradients(learner), expected)


def test_activation_checkpointing_changes_nothing(llama):
    groups = random_groups(seed=2)
    kept, recomputed = make_learner(llama), make_learner(llama)
    recomputed._most_kept_tokens = 0
    for learner in (kept, recomputed):
        forward_backward(learner, groups, get_algorithm(algorithm_type="grpo"))
    assert recomputed.model.training
    assert_close(gradients(recomputed), gradients(kept), tolerance=0)


def support_group(support, temperature=0.7, forced=False):
    sampled = Sampled([-1.0, -1.0], [False, forced], "m", 0, temperature, supports={1: support})
    rollouts = [
        Rollout(
            str(a),
            {},
            Trajectory([Segment(None, [5, 6, 7]), Segment(0, [8, 9], sampled)]),
            advantage=a,
        )
        for a in (1.0, -0.5)
    ]
    return RolloutGroup("g", {}, rollouts)


@pytest.mark.parametrize("packed", [True, False])
def test_log_probabilities_are_over_the_support_that_was_drawn_from(model, packed):
    ids = np.array([4, 9, 17, 33], np.int32)
    bits = np.zeros(VOCABULARY, bool)
    bits[ids] = True
    group = support_group(np.packbits(bits, bitorder="little") if packed else ids)
    learner = make_learner(model)
    expected = {
        (0, segment, i): value.item()
        for (segment, i), value in plain_logprobs(model, group.rollouts[0]).items()
    }
    found = logprobs(learner, [group])
    assert {k: v for k, v in found.items() if k[0] == 0} == pytest.approx(expected, abs=1e-5)
    forward_backward(learner, [group], get_algorithm(algorithm_type="grpo"))
    assert_close(gradients(learner), plain_gradients(model, [group])[1])


@pytest.mark.parametrize(
    "penalties",
    [
        Penalties(repetition=1.7),
        Penalties(presence=0.6, frequency=-0.4),
        Penalties(1.3, -0.5, 0.7, ((8, 2.5), (9, -3.0), (30, 6.0))),
    ],
)
def test_log_probabilities_and_gradients_are_those_of_the_penalised_logits(model, penalties):
    """Each position has its own: what the prompt and the answer so far have counts."""
    ids = np.array([8, 9, 12, 30, 33], np.int32)
    rollouts = []
    for advantage, answer in ((1.0, [8, 9, 8, 8, 12]), (-0.5, [30, 9, 9, 33, 8])):
        first = Sampled([-1.0] * 5, [False] * 5, "m", 0, 0.7, {3: ids}, penalties=penalties)
        second = Sampled([-1.0] * 2, [False] * 2, "m", 0, 1.0, penalties=penalties)
        segments = [
            Segment(None, [5, 6, 7, 12]),
            Segment(0, answer, first),
            Segment(1, [6, 20]),
            Segment(2, [8, 20], second),
        ]
        rollouts.append(Rollout(str(advantage), {}, Trajectory(segments), advantage=advantage))
    group = RolloutGroup("g", {}, rollouts)
    learner = make_learner(model)
    expected = {
        (number, segment, i): value.item()
        for number, rollout in enumerate(rollouts)
        for (segment, i), value in plain_logprobs(model, rollout).items()
    }
    assert logprobs(learner, [group]) == pytest.approx(expected, abs=1e-5)
    forward_backward(learner, [group], get_algorithm(algorithm_type="grpo"))
    assert_close(gradients(learner), plain_gradients(model, [group])[1])


def test_a_hand_computed_distribution(llama):
    learner = make_learner(llama)
    group = support_group(np.array([9, 17], np.int32))
    with torch.no_grad():
        logits = llama(torch.tensor([[5, 6, 7, 8]])).logits[0, -1]
    # Two tokens can be drawn: p = 1 / (1 + exp((other - this) / T))
    expected = -torch.log1p(torch.exp((logits[17] - logits[9]) / 0.7)).item()
    assert logprobs(learner, [group])[0, 1, 1] == pytest.approx(expected, abs=1e-5)


def test_forced_tokens_and_greedy_ones_carry_no_loss(llama):
    learner = make_learner(llama)
    whole = np.arange(VOCABULARY, dtype=np.int32)
    assert set(logprobs(learner, [support_group(whole, forced=True)])) == {(0, 1, 0), (1, 1, 0)}
    assert logprobs(learner, [support_group(whole, temperature=0.0)]) == {}


def test_entropy_and_its_gradient_are_those_of_the_support(model):
    ids = np.array([4, 9, 17, 33], np.int32)
    group = support_group(ids, temperature=0.7)
    group.rollouts = group.rollouts[:1]
    algorithm = get_algorithm(algorithm_type="grpo", entropy_coef=0.5)
    learner = make_learner(model)
    metrics = forward_backward(learner, [group], algorithm)

    def loss(plain, groups):
        hidden = plain.model(input_ids=torch.tensor([[5, 6, 7, 8]])).last_hidden_state[0]
        logits = hidden[2:] @ plain.lm_head.weight.T
        logits = logits / 0.7
        rows = [logits[0], logits[1, torch.from_numpy(ids.astype(np.int64))]]
        entropy = sum(torch.distributions.Categorical(logits=row).entropy() for row in rows) / 2
        assert metrics["policy/entropy"] == pytest.approx(entropy.item(), abs=1e-5)
        return plain_loss(plain, groups) - 0.5 * entropy

    value, expected = plain_gradients(model, [group], loss)
    assert metrics["policy/loss"] == pytest.approx(value, abs=1e-5)
    assert_close(gradients(learner), expected)
