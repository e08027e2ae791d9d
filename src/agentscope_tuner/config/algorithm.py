"""`algorithm`: what is learnt from the rewards, and how the weights take it up."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from agentscope_tuner.config.keys import Section, effect


class Optimizer(Section):
    """AdamW and its schedule."""

    lr: float = effect(1e-6, "Learning rate after warm-up.", gt=0)
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = effect(
        "constant",
        "After warm-up: stay, or fall to 0 at the last step on a line or half a cosine.",
    )
    lr_warmup_steps: int = effect(0, "Steps in which the rate rises from 0; 0: none.", ge=0)
    betas: tuple[float, float] = effect(
        (0.9, 0.999), "Decay of the averages of the gradient and of its square."
    )
    weight_decay: float = effect(0.0, "Decoupled weight decay, per unit of learning rate.", ge=0)


class AdvantageArgs(Section):
    """Arguments of the algorithm's advantage."""

    epsilon: float | None = effect(
        None, "Added to the standard deviation; empty: the algorithm's own (1e-6).", gt=0
    )
    std_cal_level: Literal["group", "batch"] | None = effect(
        None, "Standard deviation over the group or the batch; empty: the algorithm's own (group)."
    )
    enable_step_norm: bool | None = effect(
        None, "Divide by the number of a rollout's model calls; empty: the algorithm's own (no)."
    )
    std_threshold: float | None = effect(
        None, "Groups whose standard deviation is at most this are skipped; empty: none is.", ge=0
    )


class PolicyLossArgs(Section):
    """Arguments of the policy loss; each loss takes its own and refuses the others."""

    clip_range: float | None = effect(
        None, "ppo: how far the ratio may leave 1 on both sides; empty: 0.2.", gt=0
    )
    clip_range_low: float | None = effect(
        None, "ppo: how far below 1 the ratio may go; empty: clip_range.", gt=0
    )
    clip_range_high: float | None = effect(
        None, "ppo: how far above 1 the ratio may go; empty: clip_range.", gt=0
    )
    epsilon_low: float | None = effect(None, "rec: clipping below 1.", ge=0)
    epsilon_high: float | None = effect(None, "rec: clipping above 1.", ge=0)
    clip_mode: str | None = effect(None, "rec: none, one-side, two-side or ring.")
    weight: str | None = effect(None, "rec: none, importance_sampling or advantage.")
    temp: float | None = effect(None, "rec: temperature of the advantage weights.", gt=0)
    regularizer: str | None = effect(None, "rec: none, k2 or forward-kl.")
    regularizer_coef: float | None = effect(None, "rec: weight of the regularizer.", ge=0)


class KlLossArgs(Section):
    """Arguments of the divergence from the reference model."""

    kl_coef: float | None = effect(
        None, "Weight of the divergence in the loss; empty: the algorithm's own.", ge=0
    )


class EntropyLossArgs(Section):
    """Arguments of the entropy bonus."""

    entropy_coef: float | None = effect(
        None, "Weight of the entropy in the loss; empty: the algorithm's own."
    )


class Algorithm(Section):
    """What is learnt from the rewards."""

    algorithm_type: str = effect("multi_step_grpo", "Name of the algorithm.")
    repeat_times: int = effect(8, "Rollouts a task (the group size).", gt=0)
    optimizer: Optimizer = Field(default_factory=Optimizer)
    advantage_fn_args: AdvantageArgs = Field(default_factory=AdvantageArgs)
    policy_loss_fn: str | None = effect(
        None, "Name of the policy loss (ppo, ...); empty: the algorithm's own."
    )
    policy_loss_fn_args: PolicyLossArgs = Field(default_factory=PolicyLossArgs)
    kl_loss_fn: str | None = effect(
        None,
        "Divergence from the starting model: none, k1, k2, low_var_kl, ...; "
        "empty: the algorithm's own.",
    )
    kl_loss_fn_args: KlLossArgs = Field(default_factory=KlLossArgs)
    entropy_loss_fn: str | None = effect(
        None, "Entropy bonus: none or default; empty: the algorithm's own."
    )
    entropy_loss_fn_args: EntropyLossArgs = Field(default_factory=EntropyLossArgs)
