"""MLflow.

`MLFLOW_TRACKING_URI` says where to; without it the run is recorded in
`monitor/mlflow/mlflow.db`, which `mlflow ui --backend-store-uri sqlite:///<file>` shows.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from agentscope_tuner.monitor.base import RunInfo
from agentscope_tuner.monitor.conversation import as_markdown
from agentscope_tuner.monitor.tracked import TrackedRun
from agentscope_tuner.trajectory import Rollout

_FORBIDDEN = re.compile(r"[^\w\-. :/]")
"""What MLflow allows in no name; `pass@4` becomes `pass_4`."""


class MLflow:
    """Scalars by step; hyper-parameters as parameters; sample conversations as artifacts."""

    _tracked: TrackedRun
    _client: MlflowClient
    _run_id: str

    def start(self, run: RunInfo) -> None:
        """Create a run in the experiment named like the project, or go on with this run's."""
        self._tracked = TrackedRun(run, "mlflow")
        logging.getLogger("mlflow.store.db").setLevel(logging.WARNING)
        uri, artifacts = os.environ.get("MLFLOW_TRACKING_URI"), None
        if uri is None:
            directory = self._tracked.directory.resolve()
            uri = f"sqlite:///{directory / 'mlflow.db'}"
            artifacts = (directory / "artifacts").as_uri()
        self._client = MlflowClient(tracking_uri=uri)
        if self._tracked.id is None:
            self._run_id = self._create(run, artifacts)
            self._tracked.begin(self._run_id)
        else:
            self._run_id = self._tracked.id
            self._client.update_run(self._run_id, status="RUNNING")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        if self._tracked.is_news(step):
            now_ms = int(time.time() * 1000)
            points = [Metric(_name(key), value, now_ms, step) for key, value in metrics.items()]
            self._client.log_batch(self._run_id, metrics=points)
            self._tracked.told(step)

    def samples(self, rollouts: Sequence[Rollout], step: int, name: str = "samples") -> None:
        if self._tracked.is_news(step):
            for index, rollout in enumerate(rollouts):
                place = f"{name}/step_{step}/{index}.md"
                self._client.log_text(self._run_id, as_markdown(rollout), place)

    def close(self) -> None:
        self._client.set_terminated(self._run_id)

    def _create(self, run: RunInfo, artifacts: str | None) -> str:
        experiment = self._client.get_experiment_by_name(run.project)
        if experiment is None:
            experiment_id = self._client.create_experiment(run.project, artifacts)
        else:
            experiment_id = experiment.experiment_id
        run_id: str = self._client.create_run(experiment_id, run_name=run.name).info.run_id
        params = [Param(_name(key), str(value)) for key, value in run.hyperparameters.items()]
        self._client.log_batch(run_id, params=params)
        return run_id


def _name(key: str) -> str:
    return _FORBIDDEN.sub("_", key)
