"""What drawing ahead of the learner wins where the two do not share their processor.

    python benchmarks/overlap.py

Rollouts and learning are simulated as waits of equal length, as on devices of their own: what is
measured is the pipeline, under the schedules of docs/schedule.md. Rollouts of a step take between
half and one and a half times the mean, always the same for a step.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from agentscope_tuner.engine.pipeline import Pipeline
from agentscope_tuner.engine.schedule import Schedule
from agentscope_tuner.executors import DaemonThreadPool
from agentscope_tuner.tasks import Task, Taskset, make_selector
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Trajectory

STEPS = 40
SECONDS = 0.1
"""Of rollouts, and of learning, a step."""
SCHEDULES = {
    "in turns, lag 0": Schedule(),
    "interval 2": Schedule(interval=2),
    "offset 1": Schedule(offset=1),
    "offset 1, in turns": Schedule(offset=1, overlapped=False),
    "interval 2, offset 1": Schedule(interval=2, offset=1),
    "interval 4": Schedule(interval=4),
    "fully_async, at most 1 old": Schedule(style="fully_async", bound=1),
}


class Source:
    """Takes weights in no time."""

    async def rollout(self, *arguments: Any, **options: Any) -> list[RolloutGroup]:
        raise AssertionError("nothing is evaluated")

    async def adopt(self, weights: Mapping[str, Tensor], version: int) -> None:
        pass

    async def close(self) -> None:
        pass


class Waiting:
    """Groups that take their time."""

    async def collect(
        self, step: int, tasks: Sequence[Task], more: Callable[[int], Sequence[Task]]
    ) -> list[RolloutGroup]:
        await asyncio.sleep(SECONDS * random.Random(step).uniform(0.5, 1.5))
        return [RolloutGroup("g", t, [Rollout("r", t, Trajectory(), reward=1.0)]) for t in tasks]

    def metrics(self, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


async def steps_per_second(schedule: Schedule) -> float:
    """Of a run of `STEPS` steps."""
    samples = [{"n": n} for n in range(8)]
    taskset = Taskset(samples, 2, selector=make_selector(samples), total_steps=STEPS)
    pipeline, learner = Pipeline(Source(), Waiting(), taskset, schedule), DaemonThreadPool(1, "l")
    began = time.perf_counter()
    for step in range(1, STEPS + 1):
        batch = await pipeline.next(step)
        await learner.run(time.sleep, SECONDS)
        pipeline.learnt(batch)
        await pipeline.after(step, {})
    took = time.perf_counter() - began
    await pipeline.close()
    return STEPS / took


async def main() -> None:
    print("| schedule | largest lag | steps a second | of in turns |")
    print("| --- | --- | --- | --- |")
    base = None
    for name, schedule in SCHEDULES.items():
        speed = await steps_per_second(schedule)
        base = base or speed
        print(f"| {name} | {schedule.max_lag} | {speed:.2f} | {speed / base:.2f} |")


if __name__ == "__main__":
    asyncio.run(main())
