"""Everything that a run writes and shows: metrics, rollouts, checkpoints, state, the display.

One object is told what happened, once; it tells the monitors, the terminal and the files.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentscope_tuner.checkpoint.lock import RunLock
from agentscope_tuner.checkpoint.random_state import random_state
from agentscope_tuner.checkpoint.run_state import RunState, RunStatus
from agentscope_tuner.checkpoint.state import save_state
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.engine.advice import Advice
from agentscope_tuner.engine.callbacks import Callback, Callbacks
from agentscope_tuner.engine.limits import Limits, LimitSettings
from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.alerts import Alerts
from agentscope_tuner.monitor.base import Monitor, RunInfo
from agentscope_tuner.monitor.console import ConsoleMonitor
from agentscope_tuner.monitor.jsonl import FILE_NAME, read_metrics
from agentscope_tuner.monitor.phases import Phase
from agentscope_tuner.monitor.summary import RunSummary
from agentscope_tuner.runs.card import write_card
from agentscope_tuner.runs.files import RunFiles
from agentscope_tuner.runs.live import LiveFile, SeeRunning
from agentscope_tuner.runs.log import RunLog
from agentscope_tuner.runs.writer import RolloutWriter
from agentscope_tuner.trajectory import Rollout, RolloutGroup

logger = logging.getLogger(__name__)

LOOP_STATE = "loop.pt"
SAMPLES_SHOWN = 3
"""Conversations of an evaluation that the monitors get to see."""


class RunRecord:
    """What a run tells the world. Used by the loop, from one thread at a time."""

    def __init__(
        self,
        info: RunInfo,
        total_steps: int,
        monitors: Sequence[Monitor],
        console: ConsoleMonitor,
        lock: RunLock,
        store: CheckpointStore,
        checkpoint: Path | None,
        *,
        running: SeeRunning,
        limits: LimitSettings = LimitSettings(),  # noqa: B008 (immutable)
        alerts: Alerts | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        """`checkpoint` is the one that the run goes on from, `running` what is under way."""
        self.directory = info.directory
        self.console = console
        self._info = info
        self._total_steps = total_steps
        self._monitors = monitors
        self._started: list[Monitor] = []
        self._lock = lock
        self._store = store
        self._rollouts = RolloutWriter(info.directory)
        self._files = RunFiles(info.directory)
        self._live = LiveFile(info.directory, total_steps, console.phases, running)
        self._log_file = RunLog(info.directory)
        self._limits = Limits(limits)
        self._alerts = alerts or Alerts(info.name)
        self._advice = Advice(info.directory, self._say, self._alerts)
        self._callbacks = Callbacks(callbacks)
        self._step = info.resumed_step or 0
        self._metrics: dict[str, float] = {}
        """The last value of every metric."""
        self._current: dict[str, float] = {}
        """The metrics of the current step alone: only these say how good its weights are."""
        self.checkpoint = checkpoint
        """The last complete checkpoint."""

    def begin(self) -> None:
        """Open everything that is written to; what lies behind the step resumed from is void.

        A run without a checkpoint begins from the start: nothing that it has written counts.
        """
        self._log_file.open()
        self._log_file.say(f"tuning for {self._total_steps} steps, from step {self._step} on")
        self._rollouts.begin(self._info.resumed_step)
        for monitor in self._monitors:
            monitor.start(self._info)
            self._started.append(monitor)
        for record in read_metrics(self.directory / FILE_NAME):
            self._metrics |= {key: value for key, value in record.items() if key != "step"}
            self._limits.see(record)
        self._save_state("running")
        self.console.start(self._total_steps, self.directory, self._step)

    @contextmanager
    def phase(self, name: str, total: int | None = None) -> Iterator[Phase]:
        """Show that the run does this while the block runs; `total` parts, if they are counted."""
        with self.console.phases.begun(name, total) as phase:
            self._live.begin(self._step)
            yield phase
        logger.info("Step %d: %s, done in %.1f s.", self._step + 1, name, phase.seconds)

    @contextmanager
    def progress(self, name: str, total: int) -> Iterator[Callable[[Rollout], None]]:
        """Show a phase of `total` rollouts; call what is yielded with each that is done."""
        with self.phase(name, total) as phase:

            def done(rollout: Rollout) -> None:
                phase.done += 1
                self.console.advanced(phase)
                log_rollout(rollout)
                self._callbacks.rollout(rollout)

            yield done

    def step(self, step: int, metrics: Mapping[str, float], groups: Sequence[RolloutGroup]) -> None:
        """A training step is done."""
        self._lock.refuse_lost()
        self._step = step
        self._current.clear()
        self._rollouts.write(step, groups, None)
        self._log(metrics, step)
        self._save_state("running")
        self._store.refuse_unknown_best(self._metrics)
        self._limits.refuse_unknown(self._metrics)
        if self._advice.is_due(step):
            self._rollouts.drain()
            self._advice.look(step)
        self._callbacks.step(step, metrics)

    def evaluation(
        self, step: int, name: str, metrics: Mapping[str, float], groups: Sequence[RolloutGroup]
    ) -> None:
        """The held-out set `name` has been evaluated after `step` updates."""
        self._lock.refuse_lost()
        self._rollouts.write(step, groups, name)
        self._log({f"eval/{name}/{key}": value for key, value in metrics.items()}, step)
        samples = [rollout for group in groups for rollout in group.rollouts][:SAMPLES_SHOWN]
        for monitor in self._monitors:
            monitor.samples(samples, step, f"eval/{name}/samples")
        self._callbacks.evaluation(step, name, metrics)

    def save(self, step: int, save: Callable[[Path], None], loop_state: Mapping[str, Any]) -> None:
        """Write a checkpoint: what the learner's `save` writes, with the loop's state inside."""

        def write(directory: Path) -> None:
            save(directory)
            state = {"loop": dict(loop_state), "random": random_state()}
            save_state(directory / "tuner_state" / LOOP_STATE, state)
            try:
                write_card(directory, self._files, step)
            except InputError as error:  # a run does not end for its card
                logger.warning("The checkpoint of step %d has no model card: %s", step, error)

        self._lock.refuse_lost()
        with self.phase("saving"):
            self._rollouts.drain()  # a checkpoint is never ahead of what it says was done
            self.checkpoint = self._store.save(step, write, self._current)
        self._callbacks.save(step, self.checkpoint)

    def reason_to_end(self) -> str | None:
        """Why the run is to end here, before its last step; None: it is not."""
        if self._callbacks.asked_by is not None:
            return f"{self._callbacks.asked_by} has asked for it"
        return self._limits.reached

    def ends_early(self, reason: str) -> None:
        """Say why."""
        self._say(f"ended after step {self._step} of {self._total_steps}: {reason}")

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of every metric, the evaluations' included."""
        return dict(self._metrics)

    def end(self, status: RunStatus) -> None:
        """The run is over, in whatever way: draw the curve and close everything.

        Raises what a part raised (OSError if something could not be written), after everything is
        closed. A run that failed is spared that: it is told why it did.
        """
        self.console.stop()
        problems: list[Exception] = []
        closes = [self._rollouts.close, lambda: self._save_state(status)]
        closes += [monitor.close for monitor in self._started]
        for close in (*closes, self._live.end):
            try:
                close()
            except Exception as error:  # a tracker may raise anything
                problems.append(error)
        try:
            if problems and status != "failed":
                raise problems[0]
            self._summarize(status)
        finally:
            self._alerts.send(status, f"{status} after step {self._step} of {self._total_steps}")
            self._close_log(status)
        self._callbacks.end(status)

    def _summarize(self, status: RunStatus) -> None:
        metrics_file = self.directory / FILE_NAME
        records = read_metrics(metrics_file) if metrics_file.exists() else []
        if not records:
            return
        paths = {"metrics": metrics_file, "rollouts": self.directory / "rollouts"}
        curve = self.directory / "reward_curve.png"
        # Imported late: matplotlib takes a while, and the first rollouts do not wait for it.
        from agentscope_tuner.monitor.curve import draw_reward_curve

        try:
            draw_reward_curve(metrics_file, curve)
            paths["curve"] = curve
        except OSError as error:
            if status != "failed":
                logger.warning("%s could not be drawn: %s.", curve, error.strerror)
        if self.checkpoint is not None:
            paths["model"] = self.checkpoint
        self.console.finish(RunSummary.of(records, paths))
        if status != "failed":  # which is told by itself
            self._advice.conclude()

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        self._metrics |= metrics
        self._current |= metrics
        self._limits.see(metrics)
        for monitor in self._monitors:
            monitor.log(metrics, step)
        self.console.log(metrics, step)
        self._log_file.say(f"step {step}/{self._total_steps}: {_headline(metrics)}")

    def _say(self, text: str) -> None:
        self.console.note(text)
        self._log_file.say(text)

    def _close_log(self, status: RunStatus) -> None:
        self._log_file.say(f"{status} after step {self._step}")
        self._log_file.close()

    def _save_state(self, status: RunStatus) -> None:
        RunState(status, self._step, self._total_steps).save(self.directory)


def log_rollout(rollout: Rollout) -> None:
    """One line, for those who want to know everything."""
    if (error := rollout.error) is not None:
        logger.info("%s failed (%s): %s", rollout.id, error.kind, error.message)
    else:
        logger.info(
            "%s: reward %.3f, %d tokens in %.1f s",
            rollout.id,
            math.nan if rollout.reward is None else rollout.reward,
            rollout.trajectory.sampled_tokens,
            rollout.seconds,
        )


def _headline(metrics: Mapping[str, float]) -> str:
    """The numbers that a line of the log is about."""
    told = ("reward/mean", "policy/loss", "rollout/failed", "time/step", "time/eval")
    return ", ".join(f"{key} {value:.4g}" for key, value in metrics.items() if key.endswith(told))
