"""From hidden states to a gradient, one chunk of probabilities at a time."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from agentscope_tuner.algorithms.base import Algorithm, Tokens
from agentscope_tuner.training.token_logprobs import Head
from agentscope_tuner.training.token_metrics import TokenMetrics


def backward_through_head(
    head: Head,
    hidden_NE: Tensor,
    algorithm: Algorithm,
    columns: Mapping[str, Tensor],
    metrics: TokenMetrics,
    scale: float = 1.0,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Go backward from `scale` times the loss of a pack down to its hidden states.

    `columns` are the pack's [N]. The head's weight gets its gradient; returned are that of the
    hidden states [N, E], the pack's share of the loss (not scaled), and what was learnt of its
    tokens: `learner`, `entropy` and `loss`, [N] each.
    """
    hidden_grad_NE = torch.empty_like(hidden_NE)
    total = torch.zeros((), device=hidden_NE.device)
    learnt = {name: torch.empty(len(hidden_NE)) for name in ("learner", "entropy", "loss")}
    for rows in head.chunks():
        # Going backward chunk by chunk keeps only one chunk of probabilities alive.
        hidden_nE = hidden_NE[rows].detach().requires_grad_()
        logprobs_n, entropy_n, others_nK = head.logprobs(hidden_nE, rows)
        these = {name: column[rows] for name, column in columns.items()}
        loss_n, extra = algorithm.loss(Tokens(logprobs_n, entropy_n, these, others_nK))
        loss = (these["weight"] * loss_n).sum()
        (loss if scale == 1.0 else loss * scale).backward()
        assert hidden_nE.grad is not None
        hidden_grad_NE[rows] = hidden_nE.grad
        learnt["learner"][rows] = logprobs_n.detach().cpu()
        learnt["entropy"][rows] = entropy_n.detach().cpu()
        learnt["loss"][rows] = loss_n.detach().cpu()
        metrics.add_all({"entropy": entropy_n, **extra})
        total += loss.detach()
    return hidden_grad_NE, total, learnt
