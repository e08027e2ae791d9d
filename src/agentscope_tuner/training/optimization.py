"""AdamW's settings and the learning rate's course."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from agentscope_tuner.errors import InputError

Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """How weights are updated. Raises InputError for a value that makes no sense."""

    lr: float = 1e-6
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    """After the warm-up: `constant`, or `cosine` down to `min_lr_ratio * lr` at `total_steps`."""
    min_lr_ratio: float = 0.0
    warmup_steps: int = 0
    """Steps over which the rate rises linearly to `lr`."""
    total_steps: int | None = None
    """Steps of the whole run; needed for `cosine`."""
    grad_clip: float | None = 1.0
    """Largest norm of the whole gradient; None: not clipped."""

    def __post_init__(self) -> None:
        if self.schedule not in get_args(Schedule):
            known = ", ".join(get_args(Schedule))
            raise InputError(f"schedule is {self.schedule!r}; it must be one of {known}")
        if self.schedule == "cosine" and self.total_steps is None:
            raise InputError("schedule cosine needs total_steps")
        if self.lr < 0 or self.warmup_steps < 0:
            raise InputError("lr and warmup_steps must not be negative")
        if self.grad_clip is not None and self.grad_clip <= 0:
            raise InputError(f"grad_clip is {self.grad_clip}; it must be positive, or None")

    def lr_at(self, step: float) -> float:
        """The learning rate where `step` steps are done; parts of a step where it has several
        updates."""
        if step < self.warmup_steps:
            return self.lr * min(1.0, (step + 1) / self.warmup_steps)
        if self.schedule == "constant":
            return self.lr
        assert self.total_steps is not None
        progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        height = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.lr * (self.min_lr_ratio + (1 - self.min_lr_ratio) * height)
