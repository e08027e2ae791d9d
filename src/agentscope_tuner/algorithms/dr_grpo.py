"""Dr. GRPO: no standard deviation and a constant divisor, free of biases of difficulty and length.

    advantage_i = r_i - mean(r);  loss = sum over tokens / (samples * most tokens of an answer)

Liu et al., "Understanding R1-Zero-Like Training", 2025 (arXiv:2503.20783).
"""

from __future__ import annotations

from agentscope_tuner.algorithms.types import AlgorithmType

DR_GRPO = AlgorithmType(
    "dr_grpo",
    "grpo without its biases towards easy tasks and long wrong answers.",
    "grpo",
    advantage_fn_args={"std_cal_level": "none"},
    loss_agg_mode="seq-mean-token-sum-norm",
)
