"""Rollouts without training: the modes `explore` and `bench` of a run.

Nothing is learnt, so nothing is handed over, nothing is saved, and there is nothing to go on from;
all rollouts and evaluations are recorded as those of a run that trains.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentscope_tuner.engine.base import RolloutSource
from agentscope_tuner.engine.batches import Experience, mean_reward
from agentscope_tuner.engine.evaluation import Evaluation, refuse_total_failure, run_evaluation
from agentscope_tuner.engine.record import RunRecord
from agentscope_tuner.engine.stop import StopRequest
from agentscope_tuner.engine.stopwatch import Stopwatch
from agentscope_tuner.tasks import Task, Taskset


class SamplingLoop:
    """Evaluates once, and then rolls out batch after batch: the model stays as it is."""

    def __init__(
        self,
        source: RolloutSource,
        experience: Experience | None,
        taskset: Taskset | None,
        evaluations: Sequence[Evaluation],
        record: RunRecord,
        seed: int,
        stop: StopRequest,
    ) -> None:
        """Without a taskset the evaluations are all there is."""
        self.source = source
        self.experience = experience
        self.taskset = taskset
        self.evaluations = evaluations
        self.record = record
        self.seed = seed
        self.stop = stop
        self.step = 0
        """Batches done."""

    async def run(self) -> bool:
        """Sample to the end; False if a stop was asked for before it."""
        for evaluation in self.evaluations:
            await run_evaluation(evaluation, self.source, self.record, self.step, self.seed)
        while self.taskset is not None and self.experience is not None:
            if self.step == self.taskset.total_steps:
                break
            if self.stop.requested:
                return False
            await self._sample(self.taskset, self.experience)
        return True

    async def _sample(self, taskset: Taskset, experience: Experience) -> None:
        watch, step = Stopwatch(), self.step + 1
        batch = taskset.next_batch()

        def more(count: int) -> list[Task]:
            nonlocal batch
            further = taskset.further(count)
            batch = batch + further
            return further.tasks

        with watch("rollout"):
            groups = await experience.collect(step, batch.tasks, more)
        if step == 1:
            refuse_total_failure("the first step", groups)
        taskset.update(batch.indices, [mean_reward(group) for group in groups])
        self.step = step
        self.record.step(step, {**experience.metrics(groups), **watch.metrics()}, groups)
