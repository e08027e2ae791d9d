"""The supervised loop: what is learnt from is written down, not rolled out.

Everything else is the reinforcement learning loop's: steps, evaluations, checkpoints, resuming.
"""

from __future__ import annotations

from agentscope_tuner.engine.base import Engine
from agentscope_tuner.engine.loop import TrainingLoop, set_advantages
from agentscope_tuner.engine.stopwatch import Stopwatch
from agentscope_tuner.errors import InputError
from agentscope_tuner.tasks import Samples
from agentscope_tuner.trajectory import Rollout, RolloutGroup


class SupervisedLoop(TrainingLoop):
    """Runs steps that imitate the taskset's conversations."""

    async def _train_step(self) -> None:
        step = self.step + 1
        watch = Stopwatch()
        # One group, so that prompts which conversations share are computed once.
        group = RolloutGroup(f"step{step}", {}, [])
        for number, task in enumerate(self.taskset.next_batch()):
            trajectory = self.engine.demonstrate(task)
            group.rollouts.append(Rollout(f"{group.id}-{number}", task, trajectory))
        set_advantages(self.algorithm, [group])
        with watch("train"):
            learnt = await self._learn([group])
        with watch("sync"):
            await self.engine.hand_over(step)
        self._settle(step)
        metrics = {**learnt, **watch.metrics()}
        speed = {"throughput/trained_tokens_per_s": metrics["train/tokens"] / metrics["time/train"]}
        self.record.step(step, {**metrics, **speed}, [group])


def refuse_bad_samples(engine: Engine, samples: Samples) -> None:
    """Raise InputError, which names it by its index, for the first that cannot be learnt from."""
    for index in range(len(samples)):
        try:
            engine.demonstrate(samples[index])
        except InputError as error:
            raise InputError(
                f"Sample {index} of the dataset cannot be learnt from: {error}"
            ) from error
