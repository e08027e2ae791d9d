"""From losses per token to the loss of a batch: one weight a token, known from the whole batch.

| `loss_agg_mode` | weight |
| --- | --- |
| `token-mean` | 1 / N |
| `seq-mean-token-mean` | 1 / (B n_i): each sample counts alike (Shao et al., arXiv:2402.03300) |
| `seq-mean-token-sum` | 1 / B |
| `seq-mean-token-sum-norm` | 1 / (B L): a constant divisor, free of both biases of length (Liu et \
al., "Understanding R1-Zero-Like Training", arXiv:2503.20783) |

N trained tokens and B samples (model calls) in the optimizer batch, n_i trained tokens of sample i,
L a constant (the most tokens an answer may have). Tokens that a loss masks stay in the divisors.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from agentscope_tuner.algorithms.batch import Batch

Aggregation = Literal[
    "token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"
]


def weights(
    mode: Aggregation, batch: Batch, *, length: int = 1, among_N: Tensor | None = None
) -> Tensor:
    """The weight of each token [N], float32.

    `length` is the constant L of `seq-mean-token-sum-norm`. `among_N`: True at the tokens that are
    aggregated (None: all); the others get weight 0 and count in no divisor.
    """
    ones_N = torch.ones(len(batch)) if among_N is None else among_N.float()
    per_sample_N = batch.sum(ones_N, batch.sample_N).clamp(min=1)
    samples = float((ones_N / per_sample_N).sum().round().clamp(min=1))
    match mode:
        case "token-mean":
            divisor_N = ones_N.sum().clamp(min=1).expand(len(batch))
        case "seq-mean-token-mean":
            divisor_N = samples * per_sample_N
        case "seq-mean-token-sum":
            divisor_N = torch.full((len(batch),), samples)
        case "seq-mean-token-sum-norm":
            divisor_N = torch.full((len(batch),), samples * length)
    return (ones_N / divisor_N).float()
