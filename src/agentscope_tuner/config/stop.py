"""`stop` and `alerts`: when a run ends by itself, and whom it tells."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from agentscope_tuner.config.keys import Section, effect


class Stop(Section):
    """When a run ends before its last step: evaluated and saved, by whichever comes first.

    All parts of a resumed run count together.
    """

    metric: str | None = effect(
        None,
        "What patience and target look at, more is better; empty: the mean reward of the first "
        "evaluation set.",
    )
    patience: int | None = effect(
        None, "So often in a row the metric is measured and is no better than before.", gt=0
    )
    target: float | None = effect(None, "The metric reaches this.")
    max_hours: float | None = effect(None, "Hours of steps and evaluations.", gt=0)
    max_tokens: int | None = effect(None, "Sampled tokens that were learnt from.", gt=0)

    @model_validator(mode="after")
    def _metric_is_used(self) -> Self:
        if self.metric is not None and self.patience is None and self.target is None:
            raise ValueError("stop.metric has no effect without stop.patience or stop.target")
        return self


class Alerts(Section):
    """Who is told that a run has finished, failed or was interrupted, and of grave findings."""

    command: str | None = effect(
        None, "A shell command that gets one JSON object on its standard input."
    )
    webhook: str | None = effect(
        None, "An address that this object is posted to; no host is contacted unless named here."
    )
