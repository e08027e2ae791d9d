"""The arithmetic example as `astuner run` runs it, one step a request."""

from __future__ import annotations

import runpy
import time
from collections.abc import Mapping, Sequence
from typing import Any

from channel import Channel, Message

from agentscope_tuner import build, commands
from agentscope_tuner.compat import install
from agentscope_tuner.inference.torch_sampler import TorchSampler
from agentscope_tuner.monitor.base import Monitor, RunInfo
from agentscope_tuner.monitor.registry import create_monitors
from agentscope_tuner.trajectory import Rollout
from agentscope_tuner.tuning import Invocation, invoked_as

HELD_OUT = "eval/test/reward/mean"


class Pace:
    """A monitor that, told the metrics of a step, answers and waits for the next request.

    It belongs to the run's own monitors, so a step is all that happens from one to the next:
    rollouts, update, new weights, records, display.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._answer: Message = {}
        self._began = 0.0
        self._busy = 0.0
        self.sampler: TorchSampler | None = None

    def start(self, run: RunInfo) -> None:
        """See `Monitor.start`."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Monitor.log`."""
        if "time/step" in metrics:
            assert self.sampler is not None
            self._answer = {
                "seconds": time.perf_counter() - self._began,
                "sampler_busy": self.sampler.stats()["busy_seconds"] - self._busy,
                **{name: metrics[f"time/{name}"] for name in ("rollout", "train", "sync")},
            }
            if step % self._channel.settings["eval_interval"] == 0:
                return  # the evaluation follows
        else:
            self._answer["held_out"] = metrics[HELD_OUT]
        self._channel.answer(self._answer)
        self._channel.receive()
        self._busy = self.sampler.stats()["busy_seconds"]
        self._began = time.perf_counter()

    def samples(self, rollouts: Sequence[Rollout], step: int, name: str = "samples") -> None:
        """See `Monitor.samples`."""

    def close(self) -> None:
        """See `Monitor.close`."""


def main() -> None:
    """Run the example."""
    channel = Channel()
    settings = channel.settings
    pace = Pace(channel)

    def monitors(types: Sequence[str]) -> list[Monitor]:
        return [*create_monitors(types), pace]

    start_sampler = build.start_sampler

    def sampler(*arguments: Any) -> TorchSampler:
        pace.sampler = start_sampler(*arguments)
        return pace.sampler

    commands.create_monitors = monitors
    build.start_sampler = sampler
    install()
    overrides = [
        f"buffer.total_steps={settings['steps']}",
        f"explorer.eval_interval={settings['eval_interval']}",
        f"trainer.save_interval={settings['steps']}",
        f"checkpoint_root_dir={settings['output']}",
    ]
    with invoked_as(Invocation(settings=overrides)):
        runpy.run_path(settings["example"], run_name="__main__")


if __name__ == "__main__":
    main()
