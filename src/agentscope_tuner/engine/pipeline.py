"""Batches of rollouts between their drawing and their learning.

Batches are drawn one after another, in the order of their steps, as far ahead of the learner as
the schedule allows; while it learns, or in turns with it. Which tasks they hold is decided for all
steps of one version at once, when the first of them is begun, so that what a selector knows by then
does not depend on speeds either. A checkpoint holds what was drawn by weights that will be gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from agentscope_tuner.engine.base import RolloutSource
from agentscope_tuner.engine.batches import Experience, StepBatch, mean_reward
from agentscope_tuner.engine.held import (
    pack_groups,
    pack_replay,
    unpack_groups,
    unpack_replay,
)
from agentscope_tuner.engine.schedule import Schedule
from agentscope_tuner.experience.replay import Replay, replay_metrics
from agentscope_tuner.rollout.metrics import lag
from agentscope_tuner.tasks import Task, Taskset

LOOK_AHEAD = 2
"""Batches beyond the offset that are begun while the learner learns: enough that one slow batch
keeps nobody waiting, and few enough that those of a long interval need not all be held."""


class Pipeline:
    """Draws the batches of a run in the order of its steps, and hands the sampler its weights."""

    def __init__(
        self,
        source: RolloutSource,
        experience: Experience,
        taskset: Taskset,
        schedule: Schedule,
        replay: Replay | None = None,
        *,
        phase: Callable[[str], AbstractContextManager[object]],
    ) -> None:
        """`phase` shows what is done while its block runs."""
        self._experience = experience
        self._taskset = taskset
        self.schedule = schedule
        self.version = 0
        """The weights that the sampler has."""
        self._replay = replay
        self._source = source
        self._phase = phase
        self._batches: dict[int, StepBatch] = {}
        """Those that are not learnt from yet, by their steps."""
        self._draws: dict[int, asyncio.Task[None]] = {}
        """Those of them that are begun in this process, done or not."""
        self._last_planned = 0
        self._drawn_since = 0
        """Batches drawn since the last hand-over."""
        self._heard: list[tuple[list[int], list[float | None]]] = []
        """What the selector has not been told yet: samples, and their groups' mean rewards."""
        self._sampling = asyncio.Lock()

    async def start(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Begin after step `step`, with its weights."""
        await self._adopt(step, weights)
        self.version = step

    async def next(self, step: int) -> StepBatch:
        """The batch of a step, drawn. Steps are asked for in their order."""
        ahead = self.schedule.last_step(self.version)
        self._plan(ahead)
        if not self.schedule.by_the_clock:
            beyond = LOOK_AHEAD if self.schedule.overlapped else 0
            ahead = min(ahead, step + self.schedule.offset + beyond)
        self._begin(ahead)
        await self._drawn(step if self.schedule.overlapped else ahead)
        self._draws.pop(step, None)
        batch = self._batches.pop(step)
        if self._replay is not None:
            batch.replayed = self._replay.fill(step, batch.groups)
        return batch

    async def before(self, step: int) -> None:
        """Step number `step` is about to be learnt: let the sampler rest if it is not needed."""
        if self.schedule.rests(step):
            await self._source.rest()

    def learnt(self, batch: StepBatch) -> None:
        """Tell the selector how a batch went, in the order of the steps; it hears it before it is
        asked for the tasks of the next version."""
        means = [mean_reward(group) for group in batch.groups]
        self._heard.append((list(batch.indices), means))
        if self._replay is not None:
            self._replay.add(batch.step, batch.groups, batch.indices)

    def metrics(self, batch: StepBatch) -> dict[str, float]:
        """What is to be logged of a batch."""
        ahead = lag(batch.groups, batch.step - 1) if self.schedule.max_lag else {}
        metrics = {**self._experience.metrics(batch.groups), **ahead}
        if self._replay is not None:
            metrics |= replay_metrics(batch.step, batch.replayed)
        return {**metrics, "time/rollout": batch.seconds}

    async def after(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Step number `step` is learnt: hand its weights over if it is time."""
        if self._is_time(step):
            await self.hand_over(step, weights)

    async def hand_over(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Give the sampler the weights after step `step`, once older ones are not needed."""
        await self._finish(self.schedule.last_step_before(step))
        if self.schedule.style == "fully_async":
            await self._adopt(step, weights)
        else:
            async with self._sampling:
                await self._adopt(step, weights)
        self.version = step
        self._drawn_since = 0

    async def _adopt(self, step: int, weights: Mapping[str, Tensor]) -> None:
        with self._phase("handing over weights"):
            await self._source.adopt(weights, step)

    async def settle(self, step: int) -> None:
        """Draw what later weights than those after `step` must not, and let nothing run."""
        await self._finish(max(self.schedule.last_step_before(step), *self._draws, 0))

    async def close(self) -> None:
        """End what is under way."""
        for draw in self._draws.values():
            draw.cancel()
        await asyncio.gather(*self._draws.values(), return_exceptions=True)
        self._draws.clear()

    def state_dict(self, *, with_groups: bool) -> dict[str, Any]:
        """The taskset's cursor, and the batches ahead of the learner.

        `with_groups`: with what was drawn for them, after `settle`; without, resuming draws them
        again, by newer weights.
        """
        return {
            "taskset": self._taskset.state_dict(),
            "experience": self._experience.state_dict(),
            "heard": [list(one) for one in self._heard],
            "replay": pack_replay(self._replay) if self._replay and with_groups else None,
            "ahead": [
                {
                    "step": batch.step,
                    "indices": list(batch.indices),
                    "groups": pack_groups(batch.groups) if with_groups else None,
                    "seconds": batch.seconds,
                }
                for batch in self._batches.values()
            ],
        }

    def load_state_dict(self, step: int, state: Mapping[str, Any]) -> None:
        """Go on after step `step`, where `state` was taken."""
        self._taskset.load_state_dict(state["taskset"])
        self._experience.load_state_dict(state.get("experience", {}))
        if self._replay is not None and (kept := state.get("replay")) is not None:
            self._replay.kept = unpack_replay(kept, self._taskset)
        self._heard = [(indices, means) for indices, means in state.get("heard", ())]
        self._last_planned = step
        for ahead in state.get("ahead", ()):
            batch = StepBatch(ahead["step"], ahead["indices"])
            self._batches[batch.step] = batch
            self._last_planned = batch.step
            if ahead["groups"] is not None:
                tasks = self._taskset.batch_of(batch.indices).tasks
                batch.groups = unpack_groups(ahead["groups"], tasks)
                batch.seconds = ahead["seconds"]

    def _is_time(self, step: int) -> bool:
        schedule = self.schedule
        if schedule.by_the_clock:
            if schedule.last_step(self.version) <= step:
                return True  # the next step's rollouts may not be that old
            if schedule.style == "explorer_driven":
                return self._drawn_since >= schedule.interval
        return schedule.hands_over(step)

    def _plan(self, last: int) -> None:
        """Decide on the tasks of all steps up to this one."""
        last = min(last, self._taskset.total_steps)
        if last <= self._last_planned:
            return
        for indices, means in self._heard:
            self._taskset.update(indices, means)
        self._heard.clear()
        for step in range(self._last_planned + 1, last + 1):
            self._batches[step] = StepBatch(step, self._taskset.next_indices())
            self._last_planned = step

    def _begin(self, last: int) -> None:
        """Begin to draw all steps up to this one, each after the one before."""
        before: asyncio.Task[None] | None = None
        for step, batch in self._batches.items():
            if step <= last and step not in self._draws and not batch.groups:
                self._draws[step] = asyncio.create_task(self._draw(batch, before))
            before = self._draws.get(step)

    async def _draw(self, batch: StepBatch, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.shield(before)
        async with self._sampling:
            began = time.perf_counter()

            def more(count: int) -> list[Task]:
                further = self._taskset.further(count)
                batch.indices = batch.indices + further.indices
                return further.tasks

            tasks = self._taskset.batch_of(batch.indices).tasks
            batch.groups = await self._experience.collect(batch.step, tasks, more)
            batch.seconds = time.perf_counter() - began
            self._drawn_since += 1

    async def _finish(self, last: int) -> None:
        self._plan(last)
        self._begin(last)
        await self._drawn(last)

    async def _drawn(self, last: int) -> None:
        for step in sorted(self._draws):
            if step <= last:
                await self._draws[step]
