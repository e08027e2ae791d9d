"""The worked numbers of the reference: small batches, taken through an algorithm as a step does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from agentscope_tuner.algorithms.base import Tokens
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled, Segment, Trajectory

Column = Sequence[Sequence[float]]
"""One number a token, of each sample."""


def rollout(
    *calls: int, reward: float | None = None, name: str = "r", truncated: bool = False, **more: Any
) -> Rollout:
    """One whose calls have so many tokens; columns are given as one list a call."""
    columns = {key: more.pop(key) for key in [*more] if key not in Rollout.__slots__}
    segments: list[Segment] = []
    for number, size in enumerate(calls or (1,)):
        segments.append(Segment(len(segments) - 1 if segments else None, [1, 2]))
        known = {key: list(values[number]) for key, values in columns.items() if key != "sampler"}
        logprobs = list(columns["sampler"][number]) if "sampler" in columns else [-1.0] * size
        sampled = Sampled(logprobs, [False] * size, "m", 0, columns=known)
        segments.append(Segment(len(segments) - 1, [3] * size, sampled))
    trajectory = Trajectory(segments, overflows=int(truncated))
    return Rollout(name, {}, trajectory, reward=reward, **more)


def group(*rewards: float | None, **more: Any) -> RolloutGroup:
    """One of rollouts of one call and one token."""
    members = [rollout(reward=r, name=f"r{i}", **more) for i, r in enumerate(rewards)]
    return RolloutGroup("g", {}, members)


def advantages(name: str, groups: Sequence[RolloutGroup], **args: Any) -> list[list[float | None]]:
    """One number a rollout, group by group."""
    algorithm = get_algorithm(algorithm_type="grpo", advantage_fn=name, advantage_fn_args=args)
    algorithm.advantages(groups)
    return [[member.advantage for member in g.rollouts] for g in groups]


def token_advantages(member: Rollout) -> list[list[float]]:
    """One number a token, call by call."""
    return [s.sampled.columns["advantage"] for s in member.trajectory.sampled_segments()]


def loss_and_gradient(
    logprobs: Column,
    old: Column,
    advantage: Column,
    *,
    entropy: Column | None = None,
    columns: Mapping[str, Column] | None = None,
    **settings: Any,
) -> tuple[float, list[float]]:
    """The loss of a batch, one sample a row, and its gradient by each token's ln p."""
    members = [
        rollout(len(row), sampler=[row], advantage=0.0, reward=0.0, name=f"r{i}")
        for i, row in enumerate(old)
    ]
    algorithm = get_algorithm(**{"algorithm_type": "grpo", **settings})
    batch = Batch([RolloutGroup("g", {}, members)])
    current_N = flat(logprobs)
    batch.columns |= {"advantage": flat(advantage), "current": current_N, "proximal": flat(old)}
    batch.columns |= {name: flat(values) for name, values in (columns or {}).items()}
    algorithm.prepare(batch)
    logprobs_N = current_N.clone().requires_grad_()
    entropy_N = torch.zeros(len(batch)) if entropy is None else flat(entropy)
    loss_N, _ = algorithm.loss(Tokens(logprobs_N, entropy_N, batch.columns))
    loss = (batch.columns["weight"] * loss_N).sum()
    loss.backward()
    assert logprobs_N.grad is not None
    return loss.item(), logprobs_N.grad.tolist()


def at_ratios(
    ratios: Sequence[float], advantage: float, **settings: Any
) -> tuple[float, list[float]]:
    """`loss_and_gradient` of one sample whose ln p are 0 less the ratios' logarithms."""
    logs = torch.tensor(ratios).log().tolist()
    return loss_and_gradient([logs], [[0.0] * len(logs)], [[advantage] * len(logs)], **settings)


def flat(column: Column) -> torch.Tensor:
    """All samples' numbers in a row."""
    return torch.tensor([value for row in column for value in row], dtype=torch.float32)
