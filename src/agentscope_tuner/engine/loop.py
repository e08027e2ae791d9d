"""The reinforcement learning loop, from top to bottom.

A batch of tasks becomes groups of rollouts; the learner learns from them; the sampler gets the new
weights. When batches are drawn and weights handed over is the pipeline's business (`pipeline.py`),
what is learnt from them the algorithm's (`learning.py`), how anything is shown or stored the
record's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentscope_tuner.engine.base import RolloutSource
from agentscope_tuner.engine.evaluation import Evaluation, refuse_total_failure, run_evaluation
from agentscope_tuner.engine.learning import Learning
from agentscope_tuner.engine.pipeline import Pipeline
from agentscope_tuner.engine.record import RunRecord
from agentscope_tuner.engine.stop import StopRequest
from agentscope_tuner.engine.stopwatch import Stopwatch
from agentscope_tuner.errors import TunerError
from agentscope_tuner.executors import DaemonThreadPool
from agentscope_tuner.trajectory import RolloutGroup


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """The loop's own numbers."""

    total_steps: int
    save_interval: int
    eval_interval: int
    seed: int


class TrainingLoop:
    """Runs steps until the last one, a stop request, or an error."""

    def __init__(
        self,
        source: RolloutSource,
        learning: Learning,
        pipeline: Pipeline,
        evaluations: Sequence[Evaluation],
        record: RunRecord,
        settings: LoopSettings,
        stop: StopRequest,
    ) -> None:
        self.source = source
        self.learning = learning
        self.pipeline = pipeline
        self.evaluations = evaluations
        self.record = record
        self.settings = settings
        self.stop = stop
        self.step = 0
        """Steps done."""
        self._saved: int | None = None
        """The step of the last checkpoint."""
        self._evaluated: int | None = None
        """The step of the last evaluation."""
        self._settled: dict[str, object] | None = None
        """The loop's state at the end of the last step; None while weights change, or before."""
        # Always the same thread: OpenMP has workers for each thread that computes.
        self._learner_thread = DaemonThreadPool(1, "learner")

    def state_dict(self, *, with_groups: bool = False) -> dict[str, object]:
        """What the loop itself needs to go on; see `Pipeline.state_dict`."""
        return {
            "step": self.step,
            "algorithm": self.learning.algorithm.state_dict(),
            **self.pipeline.state_dict(with_groups=with_groups),
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on after the step that `state_dict` was taken at."""
        self.step = int(state["step"])  # type: ignore[call-overload]
        self._saved = self._evaluated = self.step
        self.pipeline.load_state_dict(self.step, state)
        algorithm: Any = state.get("algorithm", {})
        self.learning.algorithm.load_state_dict(algorithm)

    async def run(self) -> bool:
        """Train to the end, or to where a limit or a callback ends the run; False if a stop was
        asked for before it (everything is saved then).

        A fault of ours is raised after the last step was saved. Not so a RunError, whose weights
        are no good, and an OSError, with which nothing can be written.
        """
        try:
            return await self._run()
        except (TunerError, OSError):
            raise
        except Exception as fault:
            if self._settled is not None and self._saved != self.step:
                await self._save_in_spite_of(fault, self._settled)
            raise

    async def _run(self) -> bool:
        settings = self.settings
        if self._saved is None:
            await self._evaluate()
        else:
            await self.pipeline.start(self.step, self.learning.learner.weights())
        while self.step < settings.total_steps:
            if self.stop.requested:
                await self._save()
                return False
            if (reason := self.record.reason_to_end()) is not None:
                if self._evaluated != self.step:
                    await self._evaluate()
                await self._save()
                self.record.ends_early(reason)
                return True
            await self._train_step()
            last = self.step == settings.total_steps
            if last or self.step % settings.eval_interval == 0:
                await self._evaluate()
            if last or self.step % settings.save_interval == 0:
                await self._save()
        return True

    async def _save(self) -> None:
        if self._saved != self.step:
            await self.pipeline.settle(self.step)
            save, state = self.learning.save, self.state_dict(with_groups=True)
            await self._learner_thread.run(self.record.save, self.step, save, state)
            self._saved = self.step

    async def _save_in_spite_of(self, fault: Exception, state: Mapping[str, object]) -> None:
        """Save the last step although the run has failed."""
        try:
            save = self.learning.save
            await self._learner_thread.run(self.record.save, self.step, save, state)
        except Exception as error:
            fault.add_note(f"Step {self.step}, the last, could not be saved either: {error!r}")
        else:
            fault.add_note(f"Step {self.step}, the last, is saved: the run can be resumed.")

    def _settle(self, step: int) -> None:
        """Count a step that is learnt."""
        self.step = step
        self._settled = self.state_dict()

    async def _train_step(self) -> None:
        step = self.step + 1
        watch = Stopwatch()
        with watch("wait"):
            batch = await self.pipeline.next(step)
        groups = batch.groups
        if step == 1:
            refuse_total_failure("the first step", groups)
        await self.pipeline.before(step)
        with watch("train"), self.record.phase("learning"):
            self._settled = None  # half an update is nothing to go on from
            written = await self._learner_thread.run(self.learning.written, step)
            learnt = await self._learner_thread.run(
                self.learning.step, step, [*groups, *batch.replayed], written
            )
        self.pipeline.learnt(batch)
        self._settle(step)
        try:
            with watch("sync"):
                await self.pipeline.after(step, self.learning.learner.weights())
        finally:  # the step is learnt, whatever becomes of rollouts that are drawn ahead
            metrics = {**self.pipeline.metrics(batch), **learnt, **watch.metrics()}
            metrics |= throughput(metrics, groups)
            self.record.step(step, metrics, [*groups, *written])

    async def close(self) -> None:
        """End what is under way."""
        await self.pipeline.close()
        self._learner_thread.shutdown()

    async def _evaluate(self) -> None:
        if self.evaluations:
            await self.pipeline.settle(self.step)
            if self.pipeline.version != self.step:
                await self.pipeline.hand_over(self.step, self.learning.learner.weights())
        for evaluation in self.evaluations:
            await run_evaluation(
                evaluation, self.source, self.record, self.step, self.settings.seed
            )
        self._evaluated = self.step


def throughput(metrics: Mapping[str, float], groups: Sequence[RolloutGroup]) -> dict[str, float]:
    """Tokens a second of training and, if there were any, of sampling; waiting included."""
    speed = {"throughput/trained_tokens_per_s": metrics["train/tokens"] / metrics["time/train"]}
    rollouts = [rollout for group in groups for rollout in group.rollouts if not rollout.expert]
    sampled = sum(rollout.trajectory.sampled_tokens for rollout in rollouts)
    if rollouts:
        speed["throughput/sampled_tokens_per_s"] = sampled / metrics["time/rollout"]
    return speed
