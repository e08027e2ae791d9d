"""A monitor that lets a run go on step by step, as the benchmark asks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from channel import Channel, Message

from agentscope_tuner.monitor.base import RunInfo
from agentscope_tuner.trajectory import Rollout

HELD_OUT = "eval/test/reward/mean"
CHANNEL = Channel()
PARTS = {
    "calling": "rollout/seconds/calling",
    "rollout": "time/rollout",
    "train": "time/train",
    "sync": "time/sync",
    "rollouts": "rollout/count",
    "sampled": "rollout/response_tokens",
    "prompt": "rollout/prompt_tokens",
    "packed": "train/packed_tokens",
    "tokens": "train/tokens",
    "skipped": "train/skipped_tokens",
}


class Pace:
    """Told the metrics of a step, it answers and waits for the next request.

    It belongs to the run's own monitors (`monitor_type: paced_monitor:Pace`), so a step is all that
    happens from one to the next: rollouts, update, new weights, records, display.
    """

    def __init__(self) -> None:
        self._answer: Message = {}
        self._began = 0.0

    def start(self, run: RunInfo) -> None:
        """See `Monitor.start`."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Monitor.log`."""
        if "time/step" in metrics:
            seconds = time.perf_counter() - self._began
            self._answer = {"seconds": seconds, **{k: metrics[v] for k, v in PARTS.items()}}
            if step % CHANNEL.settings["eval_interval"] == 0:
                return  # the evaluation follows
        else:
            self._answer["held_out"] = metrics[HELD_OUT]
        CHANNEL.answer(self._answer)
        CHANNEL.receive()
        self._began = time.perf_counter()

    def samples(self, rollouts: Sequence[Rollout], step: int, name: str = "samples") -> None:
        """See `Monitor.samples`."""

    def close(self) -> None:
        """See `Monitor.close`."""
