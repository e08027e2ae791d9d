"""Numbers that are none, named by the rollout that they come from; nothing is updated then."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.errors import RunError
from agentscope_tuner.trajectory import Rollout

_UNTOUCHED = "The last checkpoint is as it was."


def refuse_advantages(step: int, batch: Batch) -> None:
    """Raise RunError if a token's advantage or weight is no finite number."""
    for name in ("advantage", "weight"):
        bad_N = ~torch.isfinite(batch.columns[name])
        if bad_N.any():
            rollout = _first(batch, bad_N)
            raise RunError(
                f"The {name} of rollout {rollout.id} in step {step} is not finite: look at its "
                f"reward ({rollout.reward}). {_UNTOUCHED}"
            )


def refuse_loss(step: int, batch: Batch, loss: float) -> None:
    """Raise RunError if the loss of a batch is no finite number."""
    if not math.isfinite(loss):
        raise RunError(
            f"The loss of rollout {suspect(batch)} in step {step} is not finite: lower the "
            f"learning rate, or compute in float32 (trainer.dtype). {_UNTOUCHED}"
        )


def suspect(batch: Batch) -> str:
    """The id of the rollout that has the first token whose loss is no finite number, or else the
    largest share of the loss; the column `loss` is filled."""
    shares_N = (batch.columns["loss"] * batch.columns["weight"]).abs()
    bad_N = ~torch.isfinite(shares_N)
    return _first(batch, bad_N if bad_N.any() else shares_N == shares_N.max()).id


def _first(batch: Batch, those_N: Tensor) -> Rollout:
    return dict(batch.rollouts)[int(batch.rollout_N[those_N][0])]
