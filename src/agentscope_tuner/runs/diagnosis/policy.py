"""What the learner's own numbers say."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from statistics import fmean, median

from agentscope_tuner.runs.diagnosis.case import WINDOW, Case, span
from agentscope_tuner.runs.diagnosis.finding import Finding

COLLAPSED = 0.2
"""Part of the first entropy below which the model explores no more."""
GAP = 0.01
"""Nats of KL divergence from sampler to learner: docs/metrics.md."""
SPIKE = 5.0
"""Times the median of the gradient's norm."""
STILL = 2e-5
"""Sum of the learning rates of a whole run. Adam moves a weight by about its rate a step, and a
sampler in bfloat16 does not notice what is far below 1/256 of a weight of 0.02."""
STILL_KL = 1e-6
"""Nats to the reference after `_STEPS_FOR_KL` steps."""
_STEPS_FOR_KL = 5


def entropy_collapse(case: Case) -> Iterator[Finding]:
    """The entropy has fallen and the second half of the run is no better than the first.

    The last steps alone would not do: a model that has learnt its task explores no more either.
    Where nothing has a reward, samples are imitated, and there is nothing to explore.
    """
    values = case.values("policy/entropy")
    if len(values) < 2 * WINDOW or len(case.steps) < 2 * WINDOW:
        return
    first = fmean(value for _, value in values[:WINDOW])
    last = fmean(value for _, value in values[-WINDOW:])
    half = len(case.steps) // 2
    before, after = case.reward(case.steps[:half]), case.reward(case.steps[half:])
    rising = after.mean - before.mean > 2 * max(before.standard_error, after.standard_error)
    if last >= COLLAPSED * first or rising or isnan(after.mean - before.mean):
        return
    yield Finding(
        "entropy-collapse",
        "medium",
        "The model has stopped exploring: its entropy fell away and the reward did not rise.",
        f"policy/entropy {first:.3g} in {span([s for s, _ in values[:WINDOW]])}, {last:.3g} in "
        f"{span([s for s, _ in values[-WINDOW:]])}; reward/mean {before.mean:.3g} in the "
        f"first half and {after.mean:.3g} in the second",
        "Go back to an earlier checkpoint with a smaller learning rate, or give "
        "algorithm.entropy_loss_fn_args.entropy_coef a value such as 0.001.",
    )


def sampler_gap(case: Case) -> Iterator[Finding]:
    """Sampler and learner disagree about the same tokens."""
    values = case.recent("policy/kl_sampler_learner")
    gap = median(value for _, value in values) if values else 0.0
    if gap <= GAP:
        return
    corrected = case.configuration.get("algorithm.importance_correction") not in ("none", "off")
    yield Finding(
        "sampler-learner-gap",
        "medium",
        "The sampler's probabilities are not the learner's: the gradient is of another policy than "
        "the one that sampled.",
        f"policy/kl_sampler_learner {gap:.3g}, the median of {span([s for s, _ in values])}; "
        f"more than {GAP:g} is too much",
        "Sample in float32 (explorer.rollout_model.dtype), or train on fresher rollouts."
        if corrected
        else "Set algorithm.importance_correction=truncated.",
    )


def gradient_spike(case: Case) -> Iterator[Finding]:
    """Single steps have a far larger gradient than the others."""
    values = case.values("policy/grad_norm")
    if len(values) < 2 * WINDOW:
        return
    usual = median(value for _, value in values)
    spikes = [(step, value) for step, value in values if value > SPIKE * usual > 0]
    if not spikes:
        return
    step, worst = max(spikes, key=lambda spike: spike[1])
    yield Finding(
        "gradient-spike",
        "low",
        f"The gradient of {len(spikes)} step{'s' if len(spikes) > 1 else ''} was over {SPIKE:g} "
        "times the usual one.",
        f"policy/grad_norm {worst:.3g} in step {step}, where {usual:.3g} is the median",
        "Look at that step's rollouts for a reward of another size; trainer.grad_clip bounds what "
        "one step can do.",
    )


def still_weights(case: Case) -> Iterator[Finding]:
    """The weights hardly move."""
    rates = case.values("policy/lr")
    moved = case.values("policy/kl_reference")
    if len(rates) < WINDOW or case.reward_rose:
        return
    planned = fmean(rate for _, rate in rates) * case.total_steps
    no_kl = len(moved) >= _STEPS_FOR_KL and moved[-1][1] < STILL_KL
    if planned >= STILL and not no_kl:
        return
    yield Finding(
        "still-weights",
        "medium",
        "The model hardly changes: its learning rate is too small for so few steps.",
        f"policy/lr {rates[-1][1]:.3g} over {case.total_steps} steps moves a weight by "
        f"{planned:.1g} at most"
        + (f"; policy/kl_reference {moved[-1][1]:.2g} in step {moved[-1][0]}" if no_kl else ""),
        "Try ten times the learning rate, or more steps.",
    )
