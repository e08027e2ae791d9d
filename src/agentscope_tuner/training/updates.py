"""AdamW over a model's float32 weights: one update at a time, its schedule and its clipping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from agentscope_tuner.errors import RunError
from agentscope_tuner.training.optimization import OptimizerSettings


class Updates:
    """Takes the gradients that have gathered beside some weights into the weights."""

    def __init__(self, weights: Mapping[str, Tensor], settings: OptimizerSettings) -> None:
        """`weights` are float32, by name; they are changed in place.

        Gradients and averages have their places before the first activations, and keep them from
        update to update: allocated among activations they would leave holes of other sizes each
        time, and the heap would grow for the whole run.
        """
        self.done = 0
        """Calls of `step` so far."""
        self._weights = list(weights.values())
        for weight in self._weights:
            weight.grad = torch.zeros_like(weight)
        self._settings = settings
        self.optimizer = torch.optim.AdamW(
            self._weights,
            lr=settings.lr,
            betas=settings.betas,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        for weight in self._weights:
            self.optimizer.state[weight] = {
                "step": torch.zeros((), device=weight.device),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.zeros_like(weight),
            }

    def step(self, at: float) -> dict[str, float]:
        """Update with the accumulated gradient and forget it; returns `grad_norm` and `lr`.

        `at` is how much of the run is done, in steps. If the gradient is zero everywhere, the
        weights stay as they are; the schedule goes on. Raises RunError if it is not finite.
        """
        lr, clip = self._settings.lr_at(at), self._settings.grad_clip
        self.done += 1
        grads = [weight.grad for weight in self._weights if weight.grad is not None]
        grad_norm = float(torch.nn.utils.get_total_norm(grads))
        if not math.isfinite(grad_norm):
            raise RunError(
                f"The gradient of step {int(at) + 1} is not finite: lower the learning rate, or "
                "compute in float32 (trainer.dtype). The last checkpoint is as it was."
            )
        if grad_norm > 0:
            if clip is not None and grad_norm > clip:
                torch._foreach_mul_(grads, clip / grad_norm)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=False)
        return {"grad_norm": grad_norm, "lr": lr}

    def state_dict(self) -> dict[str, Any]:
        """The number of updates and the optimizer's averages; not copied."""
        return {"step": self.done, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.done = state["step"]
        self.optimizer.load_state_dict(state["optimizer"])

    def release(self) -> None:
        """Give the memory back."""
        self.optimizer.state.clear()
        self._weights.clear()
