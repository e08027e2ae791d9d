"""What a display shows of a run, as a value that is replaced and never changed.

The run's thread swaps in a new `Progress` with one assignment while another thread draws the last
one, so that neither needs a lock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from agentscope_tuner.monitor.summary import LOSS, training_key

_RECENT = 5
"""Steps whose mean is compared with the mean of as many before."""


def headline(metrics: Mapping[str, float]) -> tuple[str, float]:
    """The one number of a training step and its name; NaN if every rollout failed."""
    key = training_key([metrics])
    return "loss" if key == LOSS else "reward", metrics.get(key, math.nan)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. Times are `time.monotonic()` seconds."""

    total_steps: int
    step: int = 0
    measure: str = "reward"
    """What `history` is: the mean reward, or the loss where there is nothing but demonstrations."""
    history: tuple[float, ...] = ()
    """One value a training step so far; steps without one (every rollout failed) are left out."""
    failed: int = 0
    """Rollouts that failed for good, over all steps."""
    step_seconds: tuple[float, ...] = ()
    """From the end of a step to the end of the next, evaluation and saving in between included."""
    step_ended: float | None = None
    sampled_tokens_per_s: float = math.nan

    def after_step(self, step: int, metrics: Mapping[str, float], now: float) -> Progress:
        """The same run at the end of training step `step`."""
        measure, value = headline(metrics)
        own = metrics.get("time/step", math.nan)
        seconds = own if self.step_ended is None else now - self.step_ended
        return replace(
            self,
            step=step,
            measure=measure,
            history=self.history if math.isnan(value) else (*self.history, value),
            failed=self.failed + int(metrics.get("rollout/failed", 0)),
            step_seconds=self.step_seconds
            if math.isnan(seconds)
            else (*self.step_seconds, seconds),
            step_ended=now,
            sampled_tokens_per_s=metrics.get("throughput/sampled_tokens_per_s", math.nan),
        )

    @property
    def trend(self) -> float | None:
        """Mean of the last steps less that of as many before; None before there are two."""
        count = min(_RECENT, len(self.history) // 2)
        if count == 0:
            return None
        return fmean(self.history[-count:]) - fmean(self.history[-2 * count : -count])

    def seconds_left(self, now: float) -> float | None:
        """Estimated from the last steps; None before the first has ended and after the last."""
        if self.step_ended is None or not self.step_seconds or self.step >= self.total_steps:
            return None
        pace = fmean(self.step_seconds[-2 * _RECENT :])
        return max(0.0, pace * (self.total_steps - self.step) - (now - self.step_ended))
