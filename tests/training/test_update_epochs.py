"""A step's rollouts learnt from several times, each time against the policy that drew them."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from test_any_loss import MODEL, near_the_model, plain_logprobs
from tiny_training import make_learner, random_trajectory

from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.engine.learning import Learning
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.trajectory import Call, Rollout, RolloutGroup

STEEP = {"lr": 0.3, "eps": 1.0}
"""A rate at which the policy leaves what the loss allows, and updates in proportion to gradients:
otherwise Adam makes a difference of rounding as large as any other."""


def drawn_groups() -> list[RolloutGroup]:
    draw = random.Random(7)
    groups = []
    for g in range(3):
        members = [
            Rollout(f"{g}-{r}", {}, random_trajectory(draw, [3, 4, 5], segments=4), reward=r % 2)
            for r in range(4)
        ]
        groups.append(RolloutGroup(str(g), {}, members))
    for trajectory in (rollout.trajectory for group in groups for rollout in group.rollouts):
        trajectory.calls.append(Call(len(trajectory.segments) - 1, [], None, {}, "stop"))
    near_the_model(groups, draw, noise=0.0)
    return groups


@pytest.mark.parametrize("per_update", [None, 1])
def test_every_epoch_is_a_clipped_update_on_all_rollouts(per_update: int | None) -> None:
    groups = drawn_groups()
    learner = make_learner(MODEL, optimizer=OptimizerSettings(**STEEP, grad_clip=None))
    learning = Learning(
        learner,
        get_algorithm(algorithm_type="grpo"),
        samples_per_update=per_update,
        update_epochs=3,
    )
    metrics = learning.step(1, groups)

    model = copy.deepcopy(MODEL)
    optimizer = torch.optim.AdamW(model.parameters(), **STEEP, weight_decay=0.0)
    parts = [groups] if per_update is None else [[group] for group in groups]
    old = [[row.detach() for row in plain_logprobs(model, part)] for part in parts]
    for _ in range(3):
        for part, old_rows in zip(parts, old, strict=True):
            gains_N = []
            rows = zip(plain_logprobs(model, part), old_rows, advantages(part), strict=True)
            for new_N, old_N, advantage in rows:
                ratio_N = (new_N - old_N).exp()
                gain_N = torch.min(ratio_N * advantage, ratio_N.clamp(0.8, 1.2) * advantage)
                # The other bound, for tokens that became likelier though they were bad.
                gains_N.append(gain_N if advantage > 0 else gain_N.clamp(min=3 * advantage))
            optimizer.zero_grad()
            (-torch.cat(gains_N).mean()).backward()
            if any(weight.grad.any() for weight in model.parameters()):
                optimizer.step()

    assert metrics["policy/clip_fraction"] > 0
    assert metrics["train/tokens"] == 3 * sum(len(row) for rows in old for row in rows)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(learner.weights()[name], weight.data, rtol=0, atol=1e-5)


def advantages(groups: list[RolloutGroup]) -> list[float]:
    """Of every sample, as the step has set them."""
    return [
        rollout.advantage
        for group in groups
        for rollout in group.rollouts
        for segment in rollout.trajectory.sampled_segments()
        if len(segment.sampled.trained())
    ]
