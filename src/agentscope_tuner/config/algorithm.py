"""`algorithm`: what is learnt from the rewards, and how the weights take it up."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from agentscope_tuner.config.keys import Section, effect, not_served
from agentscope_tuner.config.trinity_keys import with_trinitys_keys


@with_trinitys_keys("algorithm.optimizer")
class Optimizer(Section):
    """AdamW and its schedule."""

    lr: float = effect(1e-6, "Learning rate after warm-up.", gt=0)
    lr_scheduler_type: Literal["constant", "cosine"] = effect(
        "constant", "After warm-up: stay, or fall at the last step to min_lr_ratio, half a cosine."
    )
    min_lr_ratio: float = effect(
        0.0, "What the rate falls to under the schedule cosine, as a part of lr.", ge=0, le=1
    )
    lr_warmup_steps: int = effect(
        -1, "Steps in which the rate rises from 0; -1: lr_warmup_steps_ratio decides.", ge=-1
    )
    lr_warmup_steps_ratio: float = effect(0.0, "The same as a part of all steps.", ge=0, le=1)
    betas: tuple[float, float] = effect(
        (0.9, 0.999), "Decay of the averages of the gradient and of its square."
    )
    weight_decay: float = effect(0.0, "Decoupled weight decay, per unit of learning rate.", ge=0)

    @property
    def follows_the_length(self) -> bool:
        """Whether the rate of a step depends on how many there are."""
        by_ratio = self.lr_warmup_steps < 0 < self.lr_warmup_steps_ratio
        return by_ratio or self.lr_scheduler_type != "constant"

    def warmup_steps(self, total_steps: int) -> int:
        """Steps in which the rate rises, of so many in all."""
        if self.lr_warmup_steps < 0:
            return int(self.lr_warmup_steps_ratio * total_steps)
        return self.lr_warmup_steps


class AdvantageArgs(Section):
    """Arguments of the algorithm's advantage; empty: the algorithm's own value."""

    epsilon: float | None = effect(None, "Added to the standard deviation; empty: 1e-6.", ge=0)
    std_cal_level: Literal["group", "batch", "none"] | None = effect(
        None, "Standard deviation over the group, over the batch, or 1 (none); empty: group."
    )
    enable_step_norm: bool | None = effect(
        None, "multi_step_grpo: divide by the number of the rollout's model calls; empty: no."
    )
    std_threshold: float | None = effect(
        None, "Groups whose standard deviation is at most this are skipped; empty: none is.", ge=0
    )


_REC = "the policy loss rec is not served"


class PolicyLossArgs(Section):
    """Arguments of the policy loss; empty: the loss's own value."""

    clip_range: float | None = effect(
        None, "How far the ratio may leave 1 on both sides; empty: 0.2.", ge=0
    )
    clip_range_low: float | None = effect(
        None, "How far below 1 the ratio may go; empty: clip_range.", ge=0
    )
    clip_range_high: float | None = effect(
        None, "How far above 1 the ratio may go; empty: clip_range.", ge=0
    )
    epsilon_low: float | None = not_served(None, "rec: clipping below 1.", _REC)
    epsilon_high: float | None = not_served(None, "rec: clipping above 1.", _REC)
    clip_mode: str | None = not_served(None, "rec: on which sides to clip.", _REC)
    weight: str | None = not_served(None, "rec: how samples are weighted.", _REC)
    temp: float | None = not_served(None, "rec: temperature of the weights.", _REC)
    regularizer: str | None = not_served(None, "rec: the regularizer.", _REC)
    regularizer_coef: float | None = not_served(None, "rec: its weight.", _REC)


class KlLossArgs(Section):
    """Arguments of the divergence from the starting model."""

    kl_coef: float | None = effect(
        None, "Weight of the divergence in the loss; empty: 0.001.", ge=0
    )


class EntropyLossArgs(Section):
    """Arguments of the entropy bonus."""

    entropy_coef: float | None = effect(None, "Weight of the entropy in the loss; empty: 0.", ge=0)


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
        None, "Divergence from the starting model: k1, k2, low_var_kl, ...; empty or none: no term."
    )
    kl_loss_fn_args: KlLossArgs = Field(default_factory=KlLossArgs)
    entropy_loss_fn: Literal["default", "none"] | None = effect(
        None, "Entropy bonus, weighted by entropy_coef; empty: default."
    )
    entropy_loss_fn_args: EntropyLossArgs = Field(default_factory=EntropyLossArgs)

    importance_correction: Literal["none", "truncated"] | None = effect(
        None,
        "Weigh tokens by how much likelier the learner finds them than the sampler did, at most 2 "
        "(truncated); empty: truncated if the two compute in different precision.",
    )

    @model_validator(mode="after")
    def _weights_weigh_something(self) -> Self:
        if self.kl_loss_fn_args.kl_coef and self.kl_loss_fn in (None, "none"):
            raise ValueError("kl_loss_fn_args.kl_coef has no effect without a kl_loss_fn")
        if self.entropy_loss_fn_args.entropy_coef and self.entropy_loss_fn == "none":
            raise ValueError("entropy_loss_fn_args.entropy_coef has no effect with none")
        return self
