"""SwanLab.

`SWANLAB_MODE` and the login are SwanLab's own. Without a login the run is recorded offline in
`monitor/swanlab/`, and `swanlab sync` uploads it later.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

import swanlab

from agentscope_tuner.monitor.base import RunInfo
from agentscope_tuner.monitor.conversation import as_markdown
from agentscope_tuner.monitor.tracked import TrackedRun
from agentscope_tuner.trajectory import Rollout


class SwanLab:
    """Scalars by step, hyper-parameters as the run's config, sample conversations as text."""

    _tracked: TrackedRun
    _run: swanlab.Run

    def start(self, run: RunInfo) -> None:
        """Begin a run at SwanLab, or go on with the one that this run directory belongs to."""
        self._tracked = TrackedRun(run, "swanlab")
        self._tracked.begin(self._tracked.id or uuid.uuid4().hex)
        # The terminal is the run's own display, which SwanLab would capture frame by frame.
        settings = swanlab.Settings.model_validate({"terminal": {"proxy_type": "none"}})
        logged_out = settings.mode == "online" and settings.api_key is None
        self._run = swanlab.init(
            project=run.project,
            name=run.name,
            id=self._tracked.id,
            resume="allow",
            log_dir=str(self._tracked.directory),
            mode="offline" if logged_out else None,
            config=dict(run.hyperparameters),
            settings=settings,
        )

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        if self._tracked.is_news(step):
            self._run.log(dict(metrics), step=step)
            self._tracked.told(step)

    def samples(self, rollouts: Sequence[Rollout], step: int, name: str = "samples") -> None:
        if self._tracked.is_news(step):
            texts = [swanlab.Text(as_markdown(rollout)) for rollout in rollouts]
            self._run.log({name: texts}, step=step)

    def close(self) -> None:
        self._run.finish()
