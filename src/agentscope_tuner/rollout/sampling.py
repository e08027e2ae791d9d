"""How rollouts are sampled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sampling:
    """What overrides the model's configuration; None keeps what that says."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    within_s: float | None = None
    """Seconds that a rollout may take with all its attempts; None: no limit beside an attempt's."""


AS_CONFIGURED = Sampling()
