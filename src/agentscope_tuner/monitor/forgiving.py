"""A tracker that goes down does not take the run with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from agentscope_tuner.monitor.base import Monitor, RunInfo
from agentscope_tuner.trajectory import Rollout

logger = logging.getLogger(__name__)


class Forgiving:
    """Passes everything on to `monitor`; what it fails to take during the run is warned about.

    Its start is not forgiven: nothing is lost by then.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def start(self, run: RunInfo) -> None:
        self._monitor.start(run)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        with self._forgiving(f"the metrics of step {step}"):
            self._monitor.log(metrics, step)

    def samples(self, rollouts: Sequence[Rollout], step: int, name: str = "samples") -> None:
        with self._forgiving(f"the conversations of step {step}"):
            self._monitor.samples(rollouts, step, name)

    def close(self) -> None:
        with self._forgiving("the end of the run"):
            self._monitor.close()

    @contextmanager
    def _forgiving(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            name = type(self._monitor).__name__
            logger.warning("%s did not take %s: %r", name, what, error)
