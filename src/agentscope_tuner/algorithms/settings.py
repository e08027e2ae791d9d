"""What a configuration says of an algorithm, before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class AlgorithmSettings:
    """What a configuration says of an algorithm; None: as the type has it."""

    algorithm_type: str = "multi_step_grpo"
    advantage_fn: str | None = None
    advantage_fn_args: Mapping[str, Any] = field(default_factory=dict)
    policy_loss_fn: str | None = None
    policy_loss_fn_args: Mapping[str, Any] = field(default_factory=dict)
    kl_loss_fn: str | None = None
    kl_loss_fn_args: Mapping[str, Any] = field(default_factory=dict)
    kl_penalty_fn: str | None = None
    kl_penalty_fn_args: Mapping[str, Any] = field(default_factory=dict)
    entropy_coef: float = 0.0
    loss_agg_mode: str | None = None
    aggregation_length: int = 1
    """The constant L of `seq-mean-token-sum-norm`."""
    importance_correction: str | None = None
    importance_correction_args: Mapping[str, Any] = field(default_factory=dict)
    default_correction: str = "none"
    """Of what learns from rollouts, where nothing is said."""
    cliprange_value: float = 0.5
    """Of the critic, where there is one."""
    algorithm_args: Mapping[str, Any] = field(default_factory=dict)
    """Of an `algorithm_type` that is a class of its own."""
