"""Any loss on one learner: a gradient does not depend on how a batch is cut, packed or ordered."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_training import VOCABULARY, make_learner, make_model, random_trajectory
from torch import Tensor

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.catalogue import catalogue
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.training.columns import FrozenModel
from agentscope_tuner.training.learner import LocalLearner
from agentscope_tuner.training.packing import PackSize
from agentscope_tuner.trajectory import Rollout, RolloutGroup

MODEL = make_model("llama")
OTHER = make_model("llama")
with torch.no_grad():
    for parameter in OTHER.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
FROZEN = FrozenModel(copy.deepcopy(OTHER), dtype=torch.float32, pack_size=PackSize(64), top=8)

ARGUMENTS = {"gdpo": {"advantage_fn_args": {"rewards": {"judge/one": 1.0, "judge/two": 0.5}}}}
"""What a type cannot do without."""
TYPES = sorted(catalogue().types)


def scored_groups(seed: int, algorithm: Algorithm) -> list[RolloutGroup]:
    """Random rollouts with rewards and everything else that an advantage may look at; the samplers'
    probabilities are near the model's."""
    draw = random.Random(seed)
    groups = []
    for g in range(3):
        prompt = [draw.randrange(3, VOCABULARY) for _ in range(5)]
        members = []
        for r in range(2 if algorithm.data == "pairs" else 3):
            trajectory = random_trajectory(draw, prompt, segments=4)
            calls = len(list(trajectory.sampled_segments()))
            steps = [draw.choice([0.0, 1.0]) for _ in range(calls)]
            member = Rollout(f"{g}-{r}", {}, trajectory, reward=draw.choice([0.0, 0.5, 1.0]))
            member.metrics = {"judge/one": draw.random(), "judge/two": draw.random()}
            member.call_rewards = steps
            member.state_keys = [draw.choice("ab") for _ in range(calls)]
            member.expert = algorithm.data != "rollouts" or (algorithm.needs_experts and g == 2)
            members.append(member)
        groups.append(RolloutGroup(str(g), {}, members))
    near_the_model(groups, draw)
    return groups


def near_the_model(groups: list[RolloutGroup], draw: random.Random, noise: float = 0.2) -> None:
    batch = Batch(groups, lambda rollout: True)
    make_learner(MODEL).forward(batch, {"current"})
    for span in batch.spans.values():
        for i, value in zip(
            span.trained.tolist(), batch.columns["current"][span.rows].tolist(), strict=True
        ):
            span.sampled.logprobs[i] = value + draw.gauss(0, noise)


def fill(learner: LocalLearner, batch: Batch, columns: set[str]) -> None:
    frozen = columns & {"reference", "teacher", "teacher_top"}
    FROZEN.forward(batch, frozen)
    if "value" in columns:
        batch.columns["value"] = torch.sin(batch.columns["sampler"])
    if "self_teacher" in columns:
        batch.columns["self_teacher"] = torch.sin(batch.columns["sampler"]) - 2
    learner.forward(batch, columns - frozen)


def gradient(
    groups: list[RolloutGroup], algorithm: Algorithm, max_tokens: int
) -> dict[str, Tensor]:
    learner = make_learner(MODEL, pack_size=PackSize(max_tokens))
    if algorithm.before_advantages:
        scored = Batch(groups, lambda rollout: rollout.reward is not None)
        fill(learner, scored, set(algorithm.before_advantages))
        scored.store()
    algorithm.advantages(groups)
    batch = Batch(groups)
    fill(learner, batch, set(algorithm.before_updates(1)))
    if algorithm.scope != "token":
        learner.forward(batch, {"current"})
    algorithm.prepare(batch)
    learner.forward_backward(batch, algorithm)
    return {n: w.grad for n, w in learner._masters.by_name.items() if w.grad is not None}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], rel: float = 1e-6) -> None:
    """By the norm of the difference, in float32 with room for the order of its sums."""
    assert one.keys() == other.keys()
    if not one:
        return
    difference = torch.cat([(one[n] - other[n]).flatten().double() for n in one]).norm()
    size = torch.cat([one[n].flatten().double() for n in one]).norm()
    assert difference <= rel * size + 1e-12, (difference / size).item()


def build(name: str, **more: object) -> Algorithm:
    return get_algorithm(**{"algorithm_type": name, **ARGUMENTS.get(name, {}), **more})


@pytest.mark.parametrize("name", TYPES)
@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(seed=st.integers(0, 10_000), max_tokens=st.integers(1, 60))
def test_every_cut_and_order_gives_the_same_gradient(name, seed, max_tokens) -> None:
    algorithm = build(name)
    groups = scored_groups(seed, algorithm)
    whole = gradient(copy.deepcopy(groups), algorithm, 10_000)
    draw = random.Random(seed)
    draw.shuffle(groups)
    if algorithm.data != "pairs" and name != "raft":  # whose first of the best is kept
        for group in groups:
            draw.shuffle(group.rollouts)
    # A product over a sample, to the power of three, magnifies what float32 rounds; so does an
    # advantage that is the difference of two ln p.
    rel = 3e-6 if name in ("vespo", "on_policy_distill") else 1e-6
    assert_same(whole, gradient(groups, algorithm, max_tokens), rel)


def plain_logprobs(model: torch.nn.Module, groups: list[RolloutGroup]) -> list[Tensor]:
    """Of each group's rollouts in order: ln p of every trained token, [N] a sample, with gradient
    and nothing shared."""
    samples = []
    for rollout in (rollout for group in groups for rollout in group.rollouts):
        trajectory = rollout.trajectory
        for index, segment in enumerate(trajectory.segments):
            if segment.sampled is not None and len(segment.sampled.trained()):
                ids = torch.tensor([trajectory.token_ids(index)])
                every_T = model(ids).logits[0, :-1].log_softmax(-1)
                chosen_T = every_T.gather(1, ids[0, 1:, None]).flatten()
                start = ids.shape[1] - len(segment.token_ids) - 1
                samples.append(chosen_T[start + torch.from_numpy(segment.sampled.trained())])
    return samples


def gradient_of(loss: Tensor, model: torch.nn.Module) -> dict[str, Tensor]:
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_gspo_is_its_papers_formula() -> None:
    algorithm = build("gspo", policy_loss_fn_args={"clip_range_low": 0.1, "clip_range_high": 0.1})
    groups = scored_groups(3, algorithm)
    ours = gradient(groups, algorithm, 40)
    model = copy.deepcopy(MODEL)
    losses = []
    rows = iter(plain_logprobs(model, groups))
    for rollout in (rollout for group in groups for rollout in group.rollouts):
        for segment in rollout.trajectory.sampled_segments():
            sampled = segment.sampled
            if len(trained := sampled.trained()):
                old_N = torch.tensor(sampled.logprobs)[trained]
                ratio = (next(rows) - old_N).mean().exp()
                gain = torch.min(
                    ratio * rollout.advantage, ratio.clamp(0.9, 1.1) * rollout.advantage
                )
                losses.append(-gain)
    assert_same(gradient_of(torch.stack(losses).mean(), model), ours, rel=1e-5)


def test_dpo_is_its_papers_formula() -> None:
    algorithm = build("dpo", policy_loss_fn_args={"beta": 0.3, "label_smoothing": 0.1})
    groups = scored_groups(5, algorithm)
    ours = gradient(groups, algorithm, 40)
    model = copy.deepcopy(MODEL)
    losses = []
    for group in groups:
        gains = []
        for rollout in group.rollouts:
            alone = [RolloutGroup("", {}, [rollout])]
            with torch.no_grad():
                reference = sum(row.sum() for row in plain_logprobs(OTHER, alone))
            gains.append(sum(row.sum() for row in plain_logprobs(model, alone)) - reference)
        margin = 0.3 * (gains[0] - gains[1])
        losses.append(-0.9 * margin.sigmoid().log() - 0.1 * (-margin).sigmoid().log())
    assert_same(gradient_of(torch.stack(losses).mean(), model), ours, rel=1e-5)
