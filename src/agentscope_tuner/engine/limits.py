"""When a run ends before its last step, by its own numbers.

Everything is counted from the lines of `metrics.jsonl`, so a run that goes on knows its best value,
its hours and its tokens without any state of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import inf, isnan

from agentscope_tuner.errors import InputError, RunError


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """See `config.stop.Stop`; None: without that limit."""

    metric: str | None = None
    patience: int | None = None
    target: float | None = None
    max_hours: float | None = None
    max_tokens: int | None = None

    def watching(self, evaluations: Collection[str]) -> LimitSettings:
        """With the metric of the first of these evaluation sets if none is named.

        Raises InputError if there is none.
        """
        if self.metric is not None or (self.patience is None and self.target is None):
            return self
        if not evaluations:
            raise InputError(
                "stop.patience and stop.target need an eval_dataset, or stop.metric to name a "
                "metric of training."
            )
        metric = f"eval/{next(iter(evaluations))}/reward/mean"
        return LimitSettings(metric, self.patience, self.target, self.max_hours, self.max_tokens)


class Limits:
    """Counts what a run has cost and reached."""

    def __init__(self, settings: LimitSettings) -> None:
        self._settings = settings
        self._hours = 0.0
        self._tokens = 0.0
        self._best = -inf
        self._stale = 0

    def see(self, metrics: Mapping[str, float]) -> None:
        """Take the metrics of a step or an evaluation."""
        times = [v for k, v in metrics.items() if k == "time/step" or k.endswith("/time/eval")]
        self._hours += sum(0.0 if isnan(seconds) else seconds for seconds in times) / 3600
        self._tokens += metrics.get("train/tokens", 0.0)
        value = metrics.get(self._settings.metric or "")
        if value is None or isnan(value):
            return
        self._stale = 0 if value > self._best else self._stale + 1
        self._best = max(self._best, value)

    @property
    def reached(self) -> str | None:
        """Which limit is, in words; None: none."""
        limits = self._settings
        if limits.target is not None and self._best >= limits.target:
            return f"{limits.metric} has reached {self._best:.4g} (stop.target)"
        if limits.patience is not None and self._stale >= limits.patience:
            times = "once" if limits.patience == 1 else f"{limits.patience} times in a row"
            return f"{limits.metric} was {times} no better than {self._best:.4g} (stop.patience)"
        if limits.max_hours is not None and self._hours >= limits.max_hours:
            return f"{self._hours:.2f} hours have passed (stop.max_hours)"
        if limits.max_tokens is not None and self._tokens >= limits.max_tokens:
            return f"{self._tokens:,.0f} tokens were learnt from (stop.max_tokens)"
        return None

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Raise RunError if the metric is not among those of a run."""
        metric = self._settings.metric
        if metric is None or metric in known:
            return
        close = " or ".join(get_close_matches(metric, known, 3, 0.3)) or "none of them"
        raise RunError(
            f"stop.metric is {metric!r}, which is no metric of this run, so it would never end the "
            f"run; did you mean {close}?"
        )
