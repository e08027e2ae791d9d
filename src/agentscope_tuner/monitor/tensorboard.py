"""TensorBoard event files in `monitor/tensorboard/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch.utils.tensorboard import SummaryWriter

from agentscope_tuner.monitor.base import RunInfo
from agentscope_tuner.monitor.conversation import as_markdown
from agentscope_tuner.trajectory import Rollout


class TensorBoard:
    """Scalars by step; hyper-parameters and sample conversations as text."""

    _writer: SummaryWriter

    def start(self, run: RunInfo) -> None:
        """Open a new event file that hides the steps which will be run again."""
        first_step = 0 if run.resumed_step is None else run.resumed_step + 1
        self._writer = SummaryWriter(
            str(run.directory / "monitor" / "tensorboard"), purge_step=first_step
        )
        if first_step == 0:
            rows = [f"| {key} | {value} |" for key, value in run.hyperparameters.items()]
            table = "\n".join(["| hyper-parameter | value |", "| --- | --- |", *rows])
            self._writer.add_text("hyperparameters", table, 0)
        self._writer.flush()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for key, value in metrics.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def samples(self, rollouts: Sequence[Rollout], step: int, name: str = "samples") -> None:
        for index, rollout in enumerate(rollouts):
            self._writer.add_text(f"{name}/{index}", as_markdown(rollout), step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
