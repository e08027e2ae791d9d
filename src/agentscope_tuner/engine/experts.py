"""What experts wrote down, beside the rollouts of every step.

Which samples a step gets follows from the seed and the step's number alone: they come in epochs,
each in an order of its own. So the cursor of a resumed run stands where it should.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from fractions import Fraction

from agentscope_tuner.engine.experience import FromSamples, Reader
from agentscope_tuner.seeds import derived_seed
from agentscope_tuner.tasks import Samples
from agentscope_tuner.trajectory import RolloutGroup


class Experts:
    """Hands out so many of an expert dataset's samples a step."""

    def __init__(self, samples: Samples, read: Reader, per_step: int, seed: int) -> None:
        self.per_step = per_step
        self._samples = samples
        self._read = read
        self._seed = seed

    def refuse_bad(self) -> None:
        """Raise InputError, which names it, for the first sample that cannot be learnt from."""
        FromSamples(self._read).refuse_bad(self._samples, "the expert dataset")

    def groups(self, step: int) -> list[RolloutGroup]:
        """The samples of step number `step`, counted from 1, a group each."""
        size = len(self._samples)
        first = (step - 1) * self.per_step
        groups = []
        for number, drawn in enumerate(range(first, first + self.per_step)):
            epoch, place = divmod(drawn, size)
            order = list(range(size))
            random.Random(derived_seed(self._seed, "experts", epoch)).shuffle(order)
            sample = dict(self._samples[order[place]])
            rollouts = self._read(sample)
            for rollout in rollouts:
                rollout.id = f"step{step}-expert{number}"
            groups.append(RolloutGroup(f"step{step}-expert{number}", sample, rollouts))
        return groups


def experts_beside(rollouts: int, ratio: float) -> int:
    """How many samples of experts are `ratio` of all that a step learns from, rounded up."""
    share = Fraction(str(ratio))
    return math.ceil(share * rollouts / (1 - share))


def interleaved(
    groups: Sequence[RolloutGroup], experts: Sequence[RolloutGroup]
) -> list[RolloutGroup]:
    """Both, the experts spread evenly: a step that is cut into updates has some in each."""
    result: list[RolloutGroup] = []
    for number, group in enumerate(groups):
        done = number * len(experts) // len(groups)
        upto = (number + 1) * len(experts) // len(groups)
        result += [group, *experts[done:upto]]
    return result
