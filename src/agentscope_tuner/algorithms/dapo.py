"""DAPO: grpo with room to rise, tokens counted alike, and groups that teach nothing sampled again.

Yu et al., "DAPO: An Open-Source LLM Reinforcement Learning System at Scale", 2025
(arXiv:2503.14476): the ratio may rise further than it may fall (0.28 and 0.2), there is no
divergence term, and the loss is the mean over tokens. Its other two parts are operators of the
experience pipeline: `dapo_dynamic_sampling` and `overlong_penalty` (see docs/algorithms.md).
"""

from __future__ import annotations

from agentscope_tuner.algorithms.types import AlgorithmType

DAPO = AlgorithmType(
    "dapo",
    "Long answers and much exploration.",
    "grpo",
    policy_loss_fn_args={"clip_range_low": 0.2, "clip_range_high": 0.28, "clip_ratio_c": 10.0},
)
