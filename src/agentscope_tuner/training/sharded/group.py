"""All ranks of a learner together: to the run a learner like any other.

Each verb is called on all ranks at once, on this machine or on others, and rank 0 tells what came
of it. If one of them dies the others wait for it in vain, so all are ended, and the run with them.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from torch import Tensor

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.errors import RunError, TunerError
from agentscope_tuner.training.recipe import Recipe
from agentscope_tuner.training.sharded.calls import Answer, Call, Place
from agentscope_tuner.training.sharded.parts import CRITIC, LEARNER
from agentscope_tuner.training.sharded.talk import Rank
from agentscope_tuner.trajectory import Rollout, Trajectory

DYING_S = 5.0
"""For a process whose end was heard of to be gone."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a rank is waited for, in seconds."""

    open_s: float = 600.0
    """For a rank to be there: to import what it needs."""
    silence_s: float = 60.0
    """Without a sign of life; then it counts as lost."""
    collective_s: float = 1800.0
    """For all ranks to come to a sum that one of them has come to."""


class LearnerGroup:
    """A learner in shards, and frozen models beside it in shards as well."""

    def __init__(
        self, recipe: Recipe, ranks: Sequence[Rank], patience: Patience | None = None
    ) -> None:
        """Load the recipe's models in these ranks, which were just started.

        Raises what a rank raises, and RunError if one dies.
        """
        self._patience = patience or Patience()
        self._ranks = ranks
        try:
            store = self._answers(self._patience.open_s)[0].value
            for rank in ranks:
                place = Place(rank.rank, len(ranks), store, self._patience.collective_s)
                self._send(rank, (place, recipe))
            self._answers(self._patience.open_s)
        except BaseException:
            self._end()
            raise

    def forward(self, batch: Batch, columns: Collection[str]) -> None:
        """See `ShardedLearner.forward`."""
        self._call(LEARNER, "forward", batch, set(columns))

    def forward_backward(self, batch: Batch, algorithm: Algorithm) -> dict[str, float]:
        """See `ShardedLearner.forward_backward`."""
        metrics: dict[str, float] = self._call(LEARNER, "forward_backward", batch, algorithm)
        return metrics

    def optim_step(self, at: float) -> dict[str, float]:
        """See `ShardedLearner.optim_step`."""
        metrics: dict[str, float] = self._call(LEARNER, "optim_step", at)
        return metrics

    def weights(self) -> Mapping[str, Tensor]:
        """All weights, whole, from rank 0; a copy."""
        weights: dict[str, Tensor] = self._call(LEARNER, "weights")
        return weights

    def save(self, directory: Path) -> None:
        """See `ShardedLearner.save`."""
        self._call(LEARNER, "save", directory)

    def release(self) -> None:
        """Have all ranks end, and give their memory back."""
        for rank in self._ranks:
            rank.close()
        for rank in self._ranks:
            rank.wait(5.0)
        self._end()

    def frozen(self, part: str) -> FrozenPart:
        """One of the recipe's frozen models."""
        return FrozenPart(self, part)

    def critic(self) -> TunedPart:
        """The recipe's critic."""
        return TunedPart(self, CRITIC)

    def _call(self, part: str, verb: str, *arguments: Any) -> Any:
        """What a verb of all ranks' parts gives; columns that they fill are in the batch then."""
        sent = tuple(_light(a) if isinstance(a, Batch) else a for a in arguments)
        try:
            for rank in self._ranks:
                self._send(rank, Call(part, verb, sent))
            answer = self._answers(self._patience.silence_s)[0]
        except BaseException:
            self._end()
            raise
        for batch in (argument for argument in arguments if isinstance(argument, Batch)):
            batch.columns |= answer.columns or {}
        return answer.value

    def _send(self, rank: Rank, message: Any) -> None:
        try:
            rank.calls.send_bytes(pickle.dumps(message))
        except OSError:
            rank.wait(DYING_S)
            raise self._lost(rank) from None

    def _answers(self, silence_s: float) -> list[Answer]:
        """Every rank's answer. Raises what one raised, and RunError if one is lost, or silent for
        so long."""
        answers: dict[int, Answer] = {}
        while len(answers) < len(self._ranks):
            waiting = [rank for rank in self._ranks if rank.rank not in answers]
            readable = [place for rank in waiting for place in rank.readable]
            ready = wait(readable, timeout=1.0)
            for rank in waiting:
                try:
                    if rank.calls in ready:
                        answers[rank.rank] = pickle.loads(rank.calls.recv_bytes())
                    rank.hear()
                except (EOFError, OSError):
                    if rank.rank not in answers:
                        rank.wait(DYING_S)
                        raise self._lost(rank) from None
                if rank.silent_s > silence_s:
                    raise self._lost(rank)
            for error in (a.error for a in answers.values() if a.error is not None):
                # One that waits for another fails when that one dies, and is told of first.
                dead = None if isinstance(error, TunerError) else self._dead()
                raise error if dead is None else self._lost(dead)
        return [answers[rank.rank] for rank in self._ranks]

    def _dead(self) -> Rank | None:
        deadline = time.monotonic() + DYING_S
        while time.monotonic() < deadline:
            for rank in self._ranks:
                if rank.wait(0.1):
                    return rank
        return None

    def _lost(self, rank: Rank) -> RunError:
        return RunError(
            f"The run cannot go on: {rank} {rank.fate()}. The last checkpoint is as it was; go on "
            "from it with --resume."
        )

    def _end(self) -> None:
        for rank in self._ranks:
            rank.end()


class FrozenPart:
    """A model of all ranks that only knows columns."""

    def __init__(self, group: LearnerGroup, part: str) -> None:
        self._group = group
        self._part = part

    def forward(self, batch: Batch, columns: Collection[str]) -> None:
        """Fill the columns that it knows."""
        self._group._call(self._part, "forward", batch, set(columns))

    def release(self) -> None:
        """Nothing: it ends with the ranks."""


class TunedPart(FrozenPart):
    """A model of all ranks that is tuned beside the learner."""

    def forward_backward(self, batch: Batch, algorithm: Algorithm) -> dict[str, float]:
        """Add the gradient of one prepared batch; returns metrics."""
        metrics: dict[str, float] = self._group._call(
            self._part, "forward_backward", batch, algorithm
        )
        return metrics

    def optim_step(self, at: float) -> dict[str, float]:
        """Update the weights where `at` steps of the run are done; returns metrics."""
        metrics: dict[str, float] = self._group._call(self._part, "optim_step", at)
        return metrics

    def save(self, directory: Path) -> None:
        """Write its part of a checkpoint's `tuner_state/`."""
        self._group._call(self._part, "save", directory)


def _light(batch: Batch) -> Batch:
    """A batch without what only people read, or a judge: tasks, conversations, answers."""
    light = copy(batch)
    light.groups = ()
    light.rollouts = [
        (number, Rollout(rollout.id, {}, Trajectory(rollout.trajectory.segments)))
        for number, rollout in batch.rollouts
    ]
    return light
