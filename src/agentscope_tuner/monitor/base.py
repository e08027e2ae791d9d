"""What a monitor is: something that is told the numbers of a run while it happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agentscope_tuner.trajectory import Rollout

HyperParameter = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The run that a monitor is started for."""

    project: str
    name: str
    directory: Path
    """The run directory; a monitor keeps its files under `monitor/<type>/`."""
    hyperparameters: Mapping[str, HyperParameter] = field(default_factory=dict)
    """Flat: nested configuration keys joined by dots, such as `optimizer.lr`."""
    resumed_step: int | None = None
    """The step of the checkpoint that the run goes on from: what was logged for later steps is
    void, as those are run again. 0 is that of a run which was stopped before its first step, with
    its baseline. None: there is no checkpoint, so nothing that was logged holds."""


class Monitor(Protocol):
    """One place where a run can be watched. Called from one thread, in the order below."""

    def start(self, run: RunInfo) -> None:
        """Open what is written to, or go on with it where `run.resumed_step` says so."""
        ...

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Take the metrics of a step or of an evaluation after `step` updates; steps never fall."""
        ...

    def samples(self, rollouts: Sequence[Rollout], step: int, name: str = "samples") -> None:
        """Take a few rollouts, for people to read; `name` tells those of one step apart."""
        ...

    def close(self) -> None:
        """Write out what is still held. Called once, also when the run failed."""
        ...
