"""A run of very many steps whose sampler and learner do nothing: what is left is bookkeeping.

Loop, pipeline, taskset, record, store and monitors are the real ones.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from channel import Channel, Message

from agentscope_tuner import AlgorithmConfig, DatasetConfig, TunerModelConfig
from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.build.algorithm import build_algorithm, build_schedule
from agentscope_tuner.build.data import build_taskset
from agentscope_tuner.build.experience import build_operators, build_rollout_experience
from agentscope_tuner.checkpoint.lock import RunLock
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.engine.loop import LoopSettings, TrainingLoop
from agentscope_tuner.engine.pipeline import Pipeline
from agentscope_tuner.engine.record import RunRecord
from agentscope_tuner.engine.stop import StopRequest
from agentscope_tuner.monitor.base import RunInfo
from agentscope_tuner.monitor.console import ConsoleMonitor
from agentscope_tuner.monitor.registry import create_monitors
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled, Segment, Trajectory

GROUPS, SAMPLES, PROMPT, NEW = 4, 4, 48, 24
TASKS = 512


class Nothing:
    """A sampler that draws at once, and a learner that has learnt at once."""

    def __init__(self, algorithm: Algorithm) -> None:
        self.algorithm = algorithm
        self.learner = self
        self._draw = random.Random(0)

    async def rollout(
        self,
        tasks: Sequence[dict[str, Any]],
        *,
        group_size: int,
        label: str,
        on_done: Callable[[Rollout], None],
        **_: Any,
    ) -> list[RolloutGroup]:
        """See `RolloutSource.rollout`."""
        return [
            RolloutGroup(
                f"{label}-{g}",
                task,
                [self._one(f"{label}-{g}-{n}", task) for n in range(group_size)],
            )
            for g, task in enumerate(tasks)
        ]

    def _one(self, name: str, task: dict[str, Any]) -> Rollout:
        ids = self._draw.choices(range(40_000), k=PROMPT + NEW)
        sampled = Sampled([-0.5] * NEW, [False] * NEW, "policy", 0)
        segments = [Segment(None, ids[:PROMPT]), Segment(0, ids[PROMPT:], sampled)]
        return Rollout(name, task, Trajectory(segments), reward=self._draw.random())

    async def rest(self) -> None:
        """See `RolloutSource.rest`."""

    async def adopt(self, weights: Any, version: int) -> None:
        """See `RolloutSource.adopt`."""

    def weights(self) -> Mapping[str, Any]:
        """See `Learner.weights`."""
        return {}

    def written(self, step: int) -> list[RolloutGroup]:
        """See `Learning.written`."""
        return []

    def step(
        self, step: int, groups: Sequence[RolloutGroup], written: Sequence[RolloutGroup]
    ) -> dict[str, float]:
        """See `Learning.step`."""
        self.algorithm.advantages(groups)
        return {"train/tokens": float(GROUPS * SAMPLES * NEW)}

    def save(self, directory: Path) -> None:
        """See `Learning.save`."""
        (directory / "tuner_state").mkdir()


class Marks:
    """A monitor that looks at clock and memory every `every` steps."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._process = psutil.Process()
        self._began = time.process_time()
        self.milliseconds: list[float] = []
        self.resident: list[int] = []

    def start(self, run: RunInfo) -> None:
        """See `Monitor.start`."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Monitor.log`."""
        if step % self._every == 0:
            now = time.process_time()
            self.milliseconds.append(1000 * (now - self._began) / self._every)
            self.resident.append(self._process.memory_info().rss)
            self._began = now

    def samples(self, rollouts: Sequence[Rollout], step: int, name: str = "samples") -> None:
        """See `Monitor.samples`."""

    def close(self) -> None:
        """See `Monitor.close`."""


async def run(steps: int, every: int, place: Path) -> Message:
    """So many steps of a run under `place`."""
    data = place / "data.jsonl"
    data.write_text("\n".join(json.dumps({"question": str(n)}) for n in range(TASKS)) + "\n")
    config = resolve(
        model=TunerModelConfig(model_path="none", max_model_len=128),
        train_dataset=DatasetConfig(path=str(data), total_steps=steps),
        algorithm=AlgorithmConfig(group_size=SAMPLES, batch_size=GROUPS),
    )
    algorithm = build_algorithm(config)
    nothing: Any = Nothing(algorithm)
    directory = place / "run"
    marks = Marks(every)
    with RunLock(directory) as lock:
        info = RunInfo("stub", "run", directory)
        record = RunRecord(
            info,
            steps,
            [*create_monitors(["tensorboard"]), marks],
            ConsoleMonitor(),
            lock,
            CheckpointStore(directory),
            None,
            running=lambda: (),
        )
        loop = TrainingLoop(
            nothing,
            nothing,
            Pipeline(
                nothing,
                build_rollout_experience(
                    config, nothing, record, build_operators(config, algorithm.data)
                ),
                build_taskset(config),
                build_schedule(config, algorithm),
                phase=record.phase,
            ),
            [],
            record,
            LoopSettings(steps, save_interval=steps, eval_interval=steps, seed=0),
            StopRequest(),
        )
        record.begin()
        await loop.run()
        await loop.close()
        record.end("finished")
    return {"milliseconds": marks.milliseconds, "resident": marks.resident}


def work(request: Message) -> Message:
    """A run from its first step to its last."""
    with TemporaryDirectory() as directory:
        return asyncio.run(run(request["steps"], request["every"], Path(directory)))


if __name__ == "__main__":
    Channel().serve(work)
