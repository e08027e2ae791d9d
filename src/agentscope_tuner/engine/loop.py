"""The reinforcement learning loop, from top to bottom.

A batch of tasks becomes groups of rollouts; the groups get advantages; the learner takes an
update; the sampler gets the new weights. Where sampler and learner live is the engine's business,
how anything is shown or stored the record's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.engine.base import Engine, Sampling
from agentscope_tuner.engine.record import RunRecord
from agentscope_tuner.engine.stop import StopRequest
from agentscope_tuner.engine.stopwatch import Stopwatch
from agentscope_tuner.errors import RunError, TunerError
from agentscope_tuner.executors import DaemonThreadPool
from agentscope_tuner.rollout.metrics import summarize
from agentscope_tuner.rollout.pass_at_k import pass_at_k
from agentscope_tuner.tasks import Taskset
from agentscope_tuner.trajectory import RolloutGroup


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One held-out set of tasks and how it is sampled."""

    name: str
    tasks: Sequence[dict[str, Any]]
    sampling: Sampling
    samples: int = 1
    """Rollouts a task."""


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """The loop's own numbers."""

    group_size: int
    total_steps: int
    save_interval: int
    eval_interval: int
    seed: int
    sampling: Sampling
    """Of the training rollouts."""


class TrainingLoop:
    """Runs steps until the last one, a stop request, or an error."""

    def __init__(
        self,
        engine: Engine,
        taskset: Taskset,
        algorithm: Algorithm,
        evaluations: Sequence[Evaluation],
        record: RunRecord,
        settings: LoopSettings,
        stop: StopRequest,
    ) -> None:
        self.engine = engine
        self.taskset = taskset
        self.algorithm = algorithm
        self.evaluations = evaluations
        self.record = record
        self.settings = settings
        self.stop = stop
        self.step = 0
        """Steps done."""
        self._saved: int | None = None
        """The step of the last checkpoint."""
        self._settled: dict[str, object] | None = None
        """The loop's state at the end of the last step; None while weights change, or before."""
        self._saving = DaemonThreadPool(1, "saving")

    def state_dict(self) -> dict[str, object]:
        """What the loop itself needs to go on."""
        return {"step": self.step, "taskset": self.taskset.state_dict()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on after the step that `state_dict` was taken at."""
        self.step = int(state["step"])  # type: ignore[call-overload]
        self._saved = self.step
        self.taskset.load_state_dict(state["taskset"])  # type: ignore[arg-type]

    async def run(self) -> bool:
        """Train to the end; False if a stop was asked for before it (everything is saved then).

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
            await self.engine.hand_over(self.step)
        while self.step < settings.total_steps:
            if self.stop.requested:
                await self._save()
                return False
            await self._train_step()
            last = self.step == settings.total_steps
            if last or self.step % settings.eval_interval == 0:
                await self._evaluate()
            if last or self.step % settings.save_interval == 0:
                await self._save()
        return True

    async def _save(self) -> None:
        if self._saved != self.step:
            await self._saving.run(self.record.save, self.step, self.engine, self.state_dict())
            self._saved = self.step

    async def _save_in_spite_of(self, fault: Exception, state: Mapping[str, object]) -> None:
        """Save the last step although the run has failed."""
        try:
            await self._saving.run(self.record.save, self.step, self.engine, state)
        except Exception as error:
            fault.add_note(f"Step {self.step}, the last, could not be saved either: {error!r}")
        else:
            fault.add_note(f"Step {self.step}, the last, is saved: the run can be resumed.")

    async def _learn(self, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        self._settled = None  # half an update is nothing to go on from
        return await self.engine.update(groups)

    def _settle(self, step: int) -> None:
        """Count a step whose weights are learnt and handed over."""
        self.step = step
        self._settled = self.state_dict()

    async def _train_step(self) -> None:
        step = self.step + 1
        watch = Stopwatch()
        tasks = self.taskset.next_batch()
        with watch("rollout"):
            groups = await self._rollout(step, tasks)
        if step == 1:
            refuse_total_failure("the first step", groups)
        set_advantages(self.algorithm, groups)
        with watch("train"):
            learnt = await self._learn(groups)
        with watch("sync"):
            await self.engine.hand_over(step)
        self.taskset.update(self.taskset.indices, [mean_reward(group) for group in groups])
        self._settle(step)
        metrics = {**summarize(groups), **learnt, **watch.metrics()}
        self.record.step(step, {**metrics, **throughput(metrics, groups)}, groups)

    async def _rollout(self, step: int, tasks: Sequence[dict[str, Any]]) -> list[RolloutGroup]:
        settings = self.settings
        with self.record.progress("rollouts", len(tasks) * settings.group_size) as on_done:
            return await self.engine.rollout(
                tasks,
                group_size=settings.group_size,
                label=f"step{step}",
                seed=settings.seed + step,
                sampling=settings.sampling,
                on_done=on_done,
            )

    async def _evaluate(self) -> None:
        for evaluation in self.evaluations:
            watch = Stopwatch()
            total = len(evaluation.tasks) * evaluation.samples
            with self.record.progress(f"evaluating {evaluation.name}", total) as on_done:
                groups = await self.engine.rollout(
                    evaluation.tasks,
                    group_size=evaluation.samples,
                    label=f"eval-{evaluation.name}-step{self.step}",
                    seed=self.settings.seed,
                    sampling=evaluation.sampling,
                    on_done=on_done,
                )
            if self.step == 0:
                refuse_total_failure(f"the evaluation of {evaluation.name}", groups)
            times = {"time/eval": watch.metrics()["time/step"]}
            metrics = {**summarize(groups), **times}
            if evaluation.samples > 1:
                metrics |= {f"pass@{k}": share for k, share in pass_at_k(groups).items()}
            self.record.evaluation(self.step, evaluation.name, metrics, groups)


def throughput(metrics: Mapping[str, float], groups: Sequence[RolloutGroup]) -> dict[str, float]:
    """Tokens a second of sampling and of training, waiting included."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    sampled = sum(rollout.trajectory.sampled_tokens for rollout in rollouts)
    return {
        "throughput/sampled_tokens_per_s": sampled / metrics["time/rollout"],
        "throughput/trained_tokens_per_s": metrics["train/tokens"] / metrics["time/train"],
    }


def mean_reward(group: RolloutGroup) -> float | None:
    """Over the rollouts that have a reward; None if none has."""
    rewards = group.rewards
    return sum(rewards) / len(rewards) if rewards else None


def set_advantages(algorithm: Algorithm, groups: Sequence[RolloutGroup]) -> None:
    """Write the algorithm's advantages into the rollouts."""
    for group, advantages in zip(groups, algorithm.advantages(groups), strict=True):
        for rollout, advantage in zip(group.rollouts, advantages, strict=True):
            rollout.advantage = advantage


def refuse_total_failure(where: str, groups: Sequence[RolloutGroup]) -> None:
    """Raise RunError, with the first failure, if no rollout got a reward."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    errors = [rollout.error for rollout in rollouts if rollout.error is not None]
    if len(errors) == len(rollouts):
        first = errors[0]
        if all(r.trajectory.overflows and not r.trajectory.calls for r in rollouts):
            raise RunError(
                f"Every prompt of {where} is too long: make max_model_len (or max_prompt_tokens) "
                f"larger, or the prompts shorter. The first one: {first.message}"
            )
        raise RunError(
            f"All {len(rollouts)} rollouts of {where} failed, so there is nothing to learn from. "
            f"The first one ({first.kind}): {first.message}\n{first.traceback}".rstrip()
        )
