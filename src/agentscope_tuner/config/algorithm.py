"""`algorithm`: what is learnt from the rewards, and how the weights take it up."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from agentscope_tuner.config.keys import Section, effect
from agentscope_tuner.config.trinity_keys import with_trinitys_keys


class AdamW(Section):
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


@with_trinitys_keys("algorithm.optimizer")
class Optimizer(AdamW):
    """AdamW and its schedule."""


class CriticOptimizer(AdamW):
    """AdamW and its schedule, of the critic."""

    lr: float = effect(1e-5, "Learning rate after warm-up.", gt=0)


class Critic(Section):
    """The critic of `ppo`; it begins from model.critic_model_path."""

    cliprange_value: float = effect(
        0.5, "How far a value may move from what it was before the step.", gt=0
    )
    optimizer: CriticOptimizer = Field(default_factory=CriticOptimizer)


class KlArgs(Section):
    """Arguments of a divergence from the starting model."""

    kl_coef: float | None = effect(
        None, "Weight of the divergence; empty: 0.001. 0: no reference model is loaded.", ge=0
    )
    adaptive: bool = effect(False, "Let the weight follow `target`.")
    target: float = effect(0.1, "The divergence to keep to, in nats, if adaptive.", gt=0)
    horizon: int = effect(10_000, "Rollouts over which an adaptive weight reacts.", gt=0)


class EntropyLossArgs(Section):
    """Arguments of the entropy bonus."""

    entropy_coef: float | None = effect(None, "Weight of the entropy in the loss; empty: 0.", ge=0)


class SampleStrategyArgs(Section):
    """Arguments of sample_strategy."""

    max_staleness: int | None = effect(
        None,
        "Updates that rollouts may be old, under staleness_control: a fixed schedule that lets "
        "them be older is refused, the other styles keep to it; empty: what a fixed one gives.",
        ge=0,
    )


_PARTS = "see the table of docs/algorithms.md"


@with_trinitys_keys("algorithm")
class Algorithm(Section):
    """What is learnt from the rewards."""

    algorithm_type: str = effect(
        "multi_step_grpo", "Name of the algorithm, or package.module:Name of one of your own."
    )
    algorithm_args: dict[str, Any] = effect(
        dict, "Arguments of an algorithm_type that is a class of your own, not made of parts."
    )
    repeat_times: int = effect(8, "Rollouts a task (the group size).", gt=0)
    optimizer: Optimizer = Field(default_factory=Optimizer)
    advantage_fn: str | None = effect(
        None, "Name of the advantage (grpo, rloo, ...); empty: the algorithm's own."
    )
    advantage_fn_args: dict[str, Any] = effect(
        dict, f"Arguments of the advantage, over its defaults; {_PARTS}."
    )
    policy_loss_fn: str | None = effect(
        None, "Name of the policy loss (ppo, gspo, ...); empty: the algorithm's own."
    )
    policy_loss_fn_args: dict[str, Any] = effect(
        dict, f"Arguments of the policy loss, over its defaults; {_PARTS}."
    )
    loss_agg_mode: str | None = effect(
        None,
        "How tokens' losses become a batch's: token-mean, seq-mean-token-mean, seq-mean-token-sum, "
        "seq-mean-token-sum-norm; empty: the algorithm's own.",
    )
    kl_loss_fn: str | None = effect(
        None, "Divergence from the starting model in the loss: k2, low_var_kl, ...; empty: none."
    )
    kl_loss_fn_args: KlArgs = Field(default_factory=KlArgs)
    kl_penalty_fn: str | None = effect(
        None,
        "Divergence from the starting model in the reward: k1, ...; empty: the algorithm's own.",
    )
    kl_penalty_fn_args: KlArgs = Field(default_factory=KlArgs)
    entropy_loss_fn: Literal["default", "mix", "none"] | None = effect(
        None,
        "Entropy bonus, weighted by entropy_coef; empty: default, which mix and mix_chord may also "
        "call mix, as it leaves out what experts wrote.",
    )
    entropy_loss_fn_args: EntropyLossArgs = Field(default_factory=EntropyLossArgs)

    critic: Critic = Field(default_factory=Critic)
    sample_strategy: Literal["default", "warmup", "staleness_control"] | None = effect(
        None,
        "default (or warmup, its other name): a step learns from its own rollouts; "
        "staleness_control: likewise, if they are not older than max_staleness.",
    )
    sample_strategy_args: SampleStrategyArgs = Field(default_factory=SampleStrategyArgs)

    importance_correction: str | None = effect(
        None,
        "What makes up for a sampler whose probabilities are not the learner's: none, truncated, "
        "sequence_truncated, sequence_mask, icepop, geometric_mask or veto; empty: truncated.",
    )
    importance_correction_args: dict[str, float] = effect(
        dict, "Bounds of the correction, over its defaults: cap, or low and high."
    )

    @field_validator("kl_loss_fn")
    @classmethod
    def _none_is_empty(cls, value: str | None) -> str | None:
        return None if value == "none" else value

    @model_validator(mode="after")
    def _weights_weigh_something(self) -> Self:
        if self.kl_loss_fn_args.kl_coef and self.kl_loss_fn is None:
            raise ValueError("kl_loss_fn_args.kl_coef has no effect without a kl_loss_fn")
        if self.entropy_loss_fn_args.entropy_coef and self.entropy_loss_fn == "none":
            raise ValueError("entropy_loss_fn_args.entropy_coef has no effect with none")
        controlled = self.sample_strategy == "staleness_control"
        if controlled != (self.sample_strategy_args.max_staleness is not None):
            raise ValueError(
                "sample_strategy staleness_control goes with sample_strategy_args.max_staleness, "
                "and neither means anything without the other"
            )
        return self
