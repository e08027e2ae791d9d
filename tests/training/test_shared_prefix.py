"""What packs begin with is computed once: who shares it, and that no gradient differs for it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_packing import group, rollout
from test_tree_learning import assert_close, gradients, plain_gradients, plain_logprobs
from tiny_training import (
    FAMILIES,
    forward_backward,
    logprobs,
    make_learner,
    make_model,
    random_groups,
)

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.training import shared_prefix, tree_attention
from agentscope_tuner.training.critic import LocalCritic
from agentscope_tuner.training.learner import LocalLearner
from agentscope_tuner.training.lora import LoraSettings
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.packing import PackSize, pack_batch
from agentscope_tuner.training.shared_prefix import Bundle, bundles_of
from agentscope_tuner.trajectory import RolloutGroup, Segment, Trajectory

SYSTEM = [7, 3, 31, 15, 15, 9, 22, 4, 38, 11]


@pytest.fixture(autouse=True)
def two_tokens_are_enough() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_prefix, "LEAST", 2)
        yield


def behind(system: list[int], groups: list[RolloutGroup]) -> list[RolloutGroup]:
    """The groups with these tokens before each of their texts."""
    for member in (r for g in groups for r in g.rollouts):
        member.trajectory = Trajectory(
            [
                replace(s, token_ids=[*system, *s.token_ids]) if s.parent is None else s
                for s in member.trajectory.segments
            ]
        )
    return groups


def in_bundles(groups: list[RolloutGroup], size: int) -> list[Bundle]:
    return list(bundles_of(pack_batch(Batch(groups), PackSize(size))))


def sizes(bundles: list[Bundle]) -> list[tuple[int, int]]:
    return [(len(bundle.packs), bundle.prefix) for bundle in bundles]


def with_prompts(*prompts: list[int]) -> list[RolloutGroup]:
    """A group of two for each; of these none fits into a pack with another."""
    return [group(rollout(p, [5, 6]), rollout(p, [7, 8])) for p in prompts]


def test_packs_share_the_prompt_of_a_group_but_for_its_last_token():
    # An answer's first token is predicted from that one.
    members = group(*(rollout([*SYSTEM, 20], [k, k]) for k in range(3, 6)))
    bundles = in_bundles([members], size=12)
    assert sizes(bundles) == [(3, 10)]
    assert bundles[0].saved == 20


def test_groups_share_what_their_prompts_begin_with():
    assert sizes(in_bundles(with_prompts([*SYSTEM, 1, 1], [*SYSTEM, 2, 2]), size=16)) == [(2, 10)]


def test_what_is_too_short_to_share_is_computed_by_each():
    assert sizes(in_bundles(with_prompts([9, 1, 1], [9, 2, 2]), size=7)) == [(1, 0), (1, 0)]


def test_a_pack_that_would_make_the_prefix_too_short_begins_another_bundle():
    prompts = [[*SYSTEM, 1], [*SYSTEM, 2], [*SYSTEM[:4], 3], [*SYSTEM[:4], 4]]
    assert sizes(in_bundles(with_prompts(*prompts), size=16)) == [(2, 10), (2, 4)]
    # Sharing four tokens among three saves less than ten among two; five among three as much.
    prompts = [[*SYSTEM, 1], [*SYSTEM, 2], [*SYSTEM[:5], 3]]
    assert sizes(in_bundles(with_prompts(*prompts), size=16)) == [(3, 5)]


def test_nothing_is_shared_across_a_branch_or_a_trained_token():
    parted = group(rollout([*SYSTEM[:5], 1], [5, 6]), rollout([*SYSTEM[:5], 2], [5, 6]))
    assert sizes(in_bundles([parted, *with_prompts(SYSTEM)], size=14)) == [(2, 5)]
    turns = [Segment(None, SYSTEM[:3]), rollout([1], [5, 5]).trajectory.segments[1]]
    turns[1] = replace(turns[1], parent=0)
    early = rollout([1], [5, 5])
    early.trajectory = Trajectory([*turns, Segment(1, SYSTEM[5:])])
    assert sizes(in_bundles([group(early), *with_prompts([*SYSTEM[:3], 5, 5])], size=14)) == [
        (2, 2)
    ]


def test_a_pack_whose_layers_are_computed_twice_is_by_itself():
    packs = pack_batch(Batch(with_prompts([*SYSTEM, 1], [*SYSTEM, 2])), PackSize(16))
    assert sizes(list(bundles_of(packs, most=12))) == [(1, 0), (1, 0)]
    assert sizes(list(bundles_of(packs, most=13))) == [(2, 10)]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    family=st.sampled_from(sorted(FAMILIES)),
    seed=st.integers(0, 10**6),
    system=st.integers(2, 10),
    max_tokens=st.sampled_from([15, 25, 40]),
    kernel=st.booleans(),
)
def test_any_packs_behind_a_prefix_give_the_same_loss_and_gradients(
    family, seed, system, max_tokens, kernel
):
    model = make_model(family)
    groups = behind(SYSTEM[:system], random_groups(seed))
    if not any(plain_logprobs(model, r) for g in groups for r in g.rollouts if r.advantage):
        return
    learner = make_learner(model, pack_size=PackSize(max_tokens))
    with pytest.MonkeyPatch.context() as patch:
        if not kernel:
            patch.setattr(tree_attention, "kernel_for", lambda query: None)
        metrics = forward_backward(learner, groups, get_algorithm(algorithm_type="grpo"))
    loss, expected = plain_gradients(model, groups)
    assert metrics["policy/loss"] == pytest.approx(loss, abs=1e-5)
    assert_close(gradients(learner), expected)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4, alpha=8)], ids=["full", "lora"])
@pytest.mark.parametrize("recomputed", [False, True])
def test_learning_with_a_shared_prefix_is_learning_without(model, lora, recomputed, monkeypatch):
    groups = behind(SYSTEM, random_groups(seed=3))
    size = PackSize(25)

    def learner() -> LocalLearner:
        torch.manual_seed(0)
        made = make_learner(model, lora=lora, pack_size=size)
        for name, weight in made._masters.by_name.items():
            if "lora_B" in name:  # is zero
                torch.nn.init.normal_(weight)
        return made

    sharing, alone = learner(), learner()
    if recomputed:  # the longest pack alone
        lengths = [len(pack.token_ids_T) for pack in pack_batch(Batch(groups), size)]
        sharing._most_kept_tokens = max(lengths) - 1
    algorithm = get_algorithm(algorithm_type="grpo")
    shared = forward_backward(sharing, groups, algorithm)
    found = logprobs(sharing, groups)
    monkeypatch.setattr(shared_prefix, "LEAST", 1000)
    plain = forward_backward(alone, groups, algorithm)
    assert shared["train/packs"] == plain["train/packs"]
    assert shared["train/packed_tokens"] <= plain["train/packed_tokens"] - 2 * len(SYSTEM)
    assert found == pytest.approx(logprobs(alone, groups), abs=1e-5)
    assert_close(gradients(sharing), gradients(alone))


def test_in_bfloat16_its_gradients_are_added_up_in_float32(llama, monkeypatch):
    """Of one long answer for each of eight packs: sums in bfloat16 would lose their last bits."""

    def gradients_with(least, dtype):
        monkeypatch.setattr(shared_prefix, "LEAST", least)
        learner = make_learner(llama, pack_size=PackSize(25), compute_dtype=dtype)
        forward_backward(learner, groups, get_algorithm(algorithm_type="grpo"))
        return torch.cat([grad.flatten() for grad in gradients(learner).values()])

    groups = behind(SYSTEM, random_groups(seed=4, groups=8))
    exact = gradients_with(1000, torch.float32)
    alone, sharing = (gradients_with(least, torch.bfloat16) for least in (1000, 2))
    assert (sharing - exact).norm() <= 1.1 * (alone - exact).norm()


def test_its_gradients_are_the_same_bits_every_time(llama):
    groups = behind(SYSTEM, random_groups(seed=3))
    one, other = (make_learner(llama, pack_size=PackSize(25)) for _ in range(2))
    for learner in (one, other):
        forward_backward(learner, groups, get_algorithm(algorithm_type="grpo"))
    assert_close(gradients(one), gradients(other), tolerance=0)


def test_a_critic_learns_the_same_with_it():
    def gradients_of(size):
        critic = LocalCritic(
            make_model("llama"),
            optimizer=OptimizerSettings(lr=1e-3),
            compute_dtype=torch.float32,
            pack_size=PackSize(size),
        )
        torch.nn.init.normal_(critic.head.weight)
        batch = Batch(behind(SYSTEM, random_groups(seed=3)))
        critic.forward(batch, {"value"})
        batch.columns["return"] = batch.columns["value"] + 1
        critic.forward_backward(batch, get_algorithm(algorithm_type="ppo"))
        return {name: weight.grad for name, weight in critic._weights.items()}

    assert_close(gradients_of(25), gradients_of(10_000))
