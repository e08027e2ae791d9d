"""Writes rollouts and their index behind the run's back: the run goes on meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from agentscope_tuner.checkpoint.durable import clear_halves
from agentscope_tuner.runs.index import append_lines, index_lines, index_path, recover_index
from agentscope_tuner.runs.rollouts import rollouts_path, step_of, write_rollouts
from agentscope_tuner.trajectory import RolloutGroup

logger = logging.getLogger(__name__)


class RolloutWriter:
    """Takes the rollouts of a step or an evaluation; one is being written while the next is made.

    Whatever went wrong is raised by the next call, and by `drain` at the latest.
    """

    def __init__(self, run_directory: Path) -> None:
        self._directory = run_directory
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rollouts")
        self._pending: Future[None] | None = None

    def begin(self, resumed_step: int | None) -> None:
        """Remove what lies behind the step that the run goes on from (None: everything)."""
        directory = index_path(self._directory).parent
        for path in directory.glob(".*.tmp"):
            path.unlink()
        clear_halves(directory)
        for path in directory.glob("*.jsonl.zst"):
            place = step_of(path)
            if place is None:
                logger.warning("%s is none of the run's files and is passed over.", path)
            elif resumed_step is None or place[0] > resumed_step:
                path.unlink()
        recover_index(self._directory)

    def write(self, step: int, groups: Sequence[RolloutGroup], evaluation: str | None) -> None:
        """Take these groups, which nobody changes from now on; `evaluation` is the set's name."""
        self.drain()
        self._pending = self._thread.submit(self._write, step, groups, evaluation)

    def drain(self) -> None:
        """Wait until everything taken is on disk. Raises what kept it from getting there."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """`drain`, and take no more."""
        try:
            self.drain()
        finally:
            self._thread.shutdown()

    def _write(self, step: int, groups: Sequence[RolloutGroup], evaluation: str | None) -> None:
        path = rollouts_path(self._directory, step, evaluation)
        frames = write_rollouts(path, groups)
        rollouts = ([(group.id, rollout) for rollout in group.rollouts] for group in groups)
        places = zip(frames, rollouts, strict=True)
        append_lines(index_path(self._directory), index_lines(path, step, evaluation, places))
