"""An `algorithm_type`: which parts go together under one name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentscope_tuner.algorithms.aggregation import Aggregation
from agentscope_tuner.algorithms.base import Data


@dataclass(frozen=True)
class AlgorithmType:
    """Names of parts, and their arguments where they differ from the parts' own defaults.

    Each can be overridden by the configuration key of the same name.
    """

    name: str
    summary: str
    """One sentence: when to use it."""
    advantage_fn: str
    policy_loss_fn: str = "ppo"
    advantage_fn_args: Mapping[str, Any] = field(default_factory=dict)
    policy_loss_fn_args: Mapping[str, Any] = field(default_factory=dict)
    kl_penalty_fn: str = "none"
    kl_coef: float = 0.001
    loss_agg_mode: Aggregation = "token-mean"
    data: Data = "rollouts"
