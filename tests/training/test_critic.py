"""The critic: a value for every trained token, along the same packs as the policy."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import pytest
import torch
from tiny_training import FAMILIES, make_learner, make_model, random_groups
from torch import Tensor

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.training.critic import LocalCritic, explained_variance
from agentscope_tuner.training.lora import LoraSettings
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.packing import PackSize

PPO = get_algorithm(algorithm_type="ppo")


def make_critic(family: str = "llama", **settings) -> LocalCritic:
    """One whose head is not zero, so that every weight has a gradient."""
    settings.setdefault("optimizer", OptimizerSettings(lr=1e-2))
    settings.setdefault("compute_dtype", torch.float32)
    critic = LocalCritic(make_model(family), **settings)
    with torch.no_grad():
        critic.head.weight.copy_(torch.linspace(-1, 1, critic.head.in_features)[None])
        critic.head.bias.fill_(0.3)
    return critic


def with_returns(critic: LocalCritic, groups) -> Batch:
    """A batch with values as they are, and returns that depend on the tokens' depth."""
    batch = Batch(groups)
    critic.forward(batch, {"value"})
    batch.columns["return"] = torch.cos(batch.columns["sampler"])
    return batch


def gradients(critic: LocalCritic) -> dict[str, Tensor]:
    return {name: w.grad.clone() for name, w in critic._weights.items() if w.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_value_comes_from_the_state_before_its_token(family: str) -> None:
    critic = make_critic(family)
    groups = random_groups(1)
    batch = Batch(groups)
    critic.forward(batch, {"value"})
    decoder = make_model(family).get_decoder()
    for (number, segment), span in batch.spans.items():
        trajectory = dict(batch.rollouts)[number].trajectory
        ids = torch.tensor([trajectory.token_ids(segment)])
        with torch.no_grad():
            plain_T = critic.head(decoder(ids).last_hidden_state)[0, :, 0]
        before = ids.shape[1] - len(trajectory.segments[segment].token_ids) - 1
        expected = plain_T[before + torch.from_numpy(span.trained)]
        torch.testing.assert_close(
            batch.columns["value"][span.rows], expected, rtol=1e-4, atol=1e-4
        )


def test_a_new_critic_expects_nothing() -> None:
    batch = Batch(random_groups(2))
    LocalCritic(make_model(), optimizer=OptimizerSettings()).forward(batch, {"value"})
    assert not batch.columns["value"].any()


@pytest.mark.parametrize("max_tokens", [1, 17, 40])
def test_every_cut_and_order_gives_the_same_gradient(max_tokens: int) -> None:
    groups = random_groups(3, groups=3)
    whole = make_critic(pack_size=PackSize(10_000))
    whole.forward_backward(with_returns(whole, groups), PPO)
    draw = random.Random(max_tokens)
    draw.shuffle(groups)
    for group in groups:
        draw.shuffle(group.rollouts)
    cut = make_critic(pack_size=PackSize(max_tokens))
    cut.forward_backward(with_returns(cut, groups), PPO)
    one, other = gradients(whole), gradients(cut)
    assert one.keys() == other.keys() == whole._weights.keys()
    difference = torch.cat([(one[n] - other[n]).flatten().double() for n in one]).norm()
    size = torch.cat([one[n].flatten().double() for n in one]).norm()
    assert difference <= 1e-6 * size


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)])
def test_it_learns_what_to_expect(dtype: torch.dtype, lora: LoraSettings | None) -> None:
    critic = LocalCritic(
        make_model(), optimizer=OptimizerSettings(lr=1e-2), compute_dtype=dtype, lora=lora
    )
    groups = random_groups(4)
    losses = []
    for _ in range(30):
        batch = with_returns(critic, groups)
        metrics = critic.forward_backward(batch, PPO) | critic.optim_step(0)
        losses.append(metrics["critic/loss"])
    assert losses[-1] < 0.2 * losses[0]
    assert metrics["critic/explained_variance"] > 0.3


def test_the_policy_is_not_moved_by_it() -> None:
    model = make_model()
    learner = make_learner(model)
    critic = LocalCritic(copy.deepcopy(model), optimizer=OptimizerSettings(lr=0.1))
    batch = with_returns(critic, random_groups(5))
    critic.forward_backward(batch, PPO)
    critic.optim_step(0)
    for name, weight in learner.weights().items():
        assert torch.equal(weight, dict(model.named_parameters())[name])


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)])
def test_it_goes_on_bit_by_bit_where_it_was_saved(
    lora: LoraSettings | None, tmp_path: Path
) -> None:
    def step(critic: LocalCritic) -> None:
        critic.forward_backward(with_returns(critic, random_groups(6)), PPO)
        critic.optim_step(0)

    def fresh() -> LocalCritic:
        torch.manual_seed(0)
        return LocalCritic(make_model(), optimizer=OptimizerSettings(lr=1e-2), lora=lora)

    through, saved, resumed = fresh(), fresh(), fresh()
    for critic in (through, saved):
        step(critic)
        step(critic)
    saved.save(tmp_path)
    resumed.load(tmp_path)
    step(through)
    step(resumed)
    for name, weight in through._weights.items():
        assert torch.equal(weight, resumed._weights[name]), name


def test_explained_variance() -> None:
    returns = torch.tensor([0.0, 1.0, 2.0])
    assert explained_variance(returns, returns) == 1
    assert explained_variance(torch.ones(3), returns) == 0
    assert explained_variance(-returns, returns) == -3
    assert explained_variance(returns, torch.ones(3)) == 0
