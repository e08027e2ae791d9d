"""Hooks of the user's own into a run: `tune(callbacks=[...])`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from agentscope_tuner.trajectory import Rollout


class Callback:
    """Does nothing; override what you want to hear of.

    Hooks are called in the run's own thread, which waits for them. What a hook raises ends the run
    as a fault would: the last step is saved.
    """

    def on_rollout(self, rollout: Rollout) -> None:
        """A rollout is done, failed or not; of training or an evaluation, by its id."""

    def on_step(self, step: int, metrics: Mapping[str, float]) -> bool | None:
        """A training step is done; True ends the run here, evaluated and saved."""

    def on_evaluation(self, step: int, name: str, metrics: Mapping[str, float]) -> bool | None:
        """The set `name` was evaluated after `step` updates; True ends the run here."""

    def on_save(self, step: int, checkpoint: Path) -> None:
        """A checkpoint is complete."""

    def on_end(self, status: str) -> None:
        """The run is over: `finished`, `interrupted` or `failed`."""


class Callbacks:
    """All of a run's, and whether one has asked for the run's end."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._all = callbacks
        self.asked_by: str | None = None
        """The one that has."""

    def rollout(self, rollout: Rollout) -> None:
        """Each hears of a rollout."""
        for callback in self._all:
            callback.on_rollout(rollout)

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Each hears of a step."""
        for callback in self._all:
            self._heard(callback, callback.on_step(step, metrics))

    def evaluation(self, step: int, name: str, metrics: Mapping[str, float]) -> None:
        """Each hears of an evaluation."""
        for callback in self._all:
            self._heard(callback, callback.on_evaluation(step, name, metrics))

    def save(self, step: int, checkpoint: Path) -> None:
        """Each hears of a checkpoint."""
        for callback in self._all:
            callback.on_save(step, checkpoint)

    def end(self, status: str) -> None:
        """Each hears of the end."""
        for callback in self._all:
            callback.on_end(status)

    def _heard(self, callback: Callback, wants_the_end: bool | None) -> None:
        if wants_the_end:
            self.asked_by = type(callback).__name__
