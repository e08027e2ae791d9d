"""What our algorithms make of a draw: advantages, a loss, its gradient by each token's ln p."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.algorithms.remax import GREEDY_REWARD
from agentscope_tuner.algorithms.tokens import Tokens
from agentscope_tuner.algorithms.value_loss import ValueLoss
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled, Segment, Trajectory
from agreement.draws import Draw

Answer = dict[str, Any]
COLUMNS = ("reference", "teacher", "value", "return", "entropy")


def answer(drawn: Draw, settings: Mapping[str, Any], *, given: bool = False) -> Answer:
    """{"advantage": one number a token, "loss": a number, "gradient": one number a token}.

    `given`: the draw's advantages are taken in place of the algorithm's own. A token that is not
    trained on has advantage and gradient 0.
    """
    algorithm = get_algorithm(**{"importance_correction": "none", **settings})
    groups = as_groups(drawn)
    algorithm.advantages(groups)
    if given:
        use_given_advantages(groups, drawn)
    batch = Batch(groups)
    loss, gradient_N = loss_and_gradient(algorithm, batch, drawn)
    return {
        "advantage": by_token(batch, drawn, batch.columns["advantage"]),
        "loss": loss,
        "gradient": by_token(batch, drawn, gradient_N),
    }


def value_loss(drawn: Draw) -> Answer:
    """The critic's loss and its gradient by each value."""
    batch = Batch(as_groups(drawn), lambda rollout: True)
    values_N = flat(drawn, "prediction").requires_grad_()
    loss_N, _ = ValueLoss()(values_N, batch.columns)
    loss_N.mean().backward()
    assert values_N.grad is not None
    return {"loss": loss_N.mean().item(), "gradient": values_N.grad.tolist()}


def distilled(drawn: Draw, settings: Mapping[str, Any]) -> Answer:
    """The gradient by the logits of one distribution, given the advantage of each token in it.

    Student and teacher are the softmax of the first call's numbers. A token is drawn as often as it
    is likely, so the expected gradient is the sum over the vocabulary.
    """
    call = drawn[0][0]["calls"][0]
    student_V, teacher_V = (
        torch.tensor(call[name]).log_softmax(0) for name in ("logprob", "teacher")
    )
    as_drawn = dict.fromkeys(("logprob", "sampler"), student_V.tolist())
    rollout = {**drawn[0][0], "calls": [{**call, **as_drawn, "teacher": teacher_V.tolist()}]}
    mean_V = torch.tensor(answer([[rollout]], settings)["gradient"])
    by_token_V = student_V.exp() * len(mean_V) * mean_V
    return {"gradient": (by_token_V - student_V.exp() * by_token_V.sum()).tolist()}


def whole_distributions(drawn: Draw, settings: Mapping[str, Any]) -> Answer:
    """The gradient by the logits of a divergence that is given whole distributions."""
    algorithm = get_algorithm(**settings)
    call = drawn[0][0]["calls"][0]
    logits_V = torch.tensor(call["logprob"]).requires_grad_()
    student_1V = logits_V.log_softmax(0)[None]
    columns = {"teacher_top": torch.tensor(call["teacher"]).log_softmax(0)[None]}
    nothing_1 = torch.zeros(1)
    columns |= {"sampler": nothing_1, "advantage": nothing_1}
    tokens = Tokens(student_1V[:, 0], nothing_1, columns, others_NK=student_1V)
    loss_1, _ = algorithm.loss(tokens)
    loss_1.sum().backward()
    assert logits_V.grad is not None
    return {"gradient": logits_V.grad.tolist()}


def as_groups(drawn: Draw) -> list[RolloutGroup]:
    """The draw as rollouts of ours."""
    return [
        RolloutGroup(str(g), {}, [as_rollout(f"{g}-{n}", r) for n, r in enumerate(group)])
        for g, group in enumerate(drawn)
    ]


def as_rollout(name: str, drawn: dict[str, Any]) -> Rollout:
    """One of them; its calls follow each other."""
    segments: list[Segment] = []
    for call in drawn["calls"]:
        columns = {column: list(call[column]) for column in COLUMNS}
        columns |= {"proximal": call["sampler"], "expected_push": call["prediction"]}
        size = len(call["sampler"])
        segments.append(Segment(len(segments) - 1 if segments else None, [1]))
        sampled = Sampled(list(call["sampler"]), [False] * size, "m", 0, columns=columns)
        segments.append(Segment(len(segments) - 1, [2] * size, sampled))
    step_rewards = [call["step_reward"] for call in drawn["calls"]]
    return Rollout(
        name,
        {},
        Trajectory(segments, overflows=int(drawn["truncated"])),
        reward=drawn["reward"],
        metrics={
            "first": drawn["reward"] or 0.0,
            "second": step_rewards[0],
            GREEDY_REWARD: drawn["calls"][0]["value"][0],
        },
        expert=drawn["expert"],
        advantage=1.0 if drawn["expert"] else None,
        call_rewards=step_rewards if drawn["dense"] else None,
        state_keys=[call["state"] for call in drawn["calls"]],
    )


def use_given_advantages(groups: list[RolloutGroup], drawn: Draw) -> None:
    """Set the draw's advantages."""
    for group, group_drawn in zip(groups, drawn, strict=True):
        for rollout, rollout_drawn in zip(group.rollouts, group_drawn, strict=True):
            rollout.advantage = 0.0
            segments = rollout.trajectory.sampled_segments()
            for segment, call in zip(segments, rollout_drawn["calls"], strict=True):
                assert segment.sampled is not None
                segment.sampled.columns["advantage"] = list(call["advantage"])


def loss_and_gradient(
    algorithm: Algorithm, batch: Batch, drawn: Draw
) -> tuple[float, torch.Tensor]:
    """As a learner asks for it, all tokens at once."""
    everything = flat(drawn, "logprob")
    places = torch.tensor(places_of(batch, drawn), dtype=torch.long)
    logprobs_N = everything[places].requires_grad_()
    batch.columns["current"] = logprobs_N.detach().clone()
    algorithm.prepare(batch)
    entropy_N = flat(drawn, "entropy")[places]
    loss_N, _ = algorithm.loss(Tokens(logprobs_N, entropy_N, batch.columns))
    loss = (batch.columns["weight"] * loss_N).sum()
    loss.backward()
    assert logprobs_N.grad is not None
    return loss.item(), logprobs_N.grad


def by_token(batch: Batch, drawn: Draw, values_N: torch.Tensor) -> list[float]:
    """One number for every token of the draw, 0 for those that are not in the batch."""
    all_tokens = torch.zeros(len(flat(drawn, "logprob")))
    all_tokens[places_of(batch, drawn)] = values_N.detach()
    return all_tokens.tolist()


def places_of(batch: Batch, drawn: Draw) -> list[int]:
    """Where each of the batch's tokens is among all tokens of the draw."""
    starts: dict[tuple[int, int], int] = {}
    start = 0
    for number, rollout in enumerate(rollout for group in drawn for rollout in group):
        for at, call in enumerate(rollout["calls"]):
            starts[number, 2 * at + 1] = start
            start += len(call["logprob"])
    spans = batch.spans.items()
    return [starts[key] + int(i) for key, span in spans for i in span.trained]


def flat(drawn: Draw, name: str) -> torch.Tensor:
    """One number for every token of the draw."""
    calls = (call for group in drawn for rollout in group for call in rollout["calls"])
    return torch.tensor([value for call in calls for value in call[name]])
