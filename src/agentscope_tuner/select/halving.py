"""Successive halving over prompts (Jamieson and Talwalkar 2016, arXiv:1502.07943).

All prompts are tried on a few tasks; the better half goes on, on twice as many, until one is left
or the tasks are used up. Half of the prompts are proposed before the first round, from what the
first prompt reached, and half after it, from what those reached.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from agentscope_tuner.errors import RunError
from agentscope_tuner.select.candidates import OpenModel
from agentscope_tuner.select.prompt_run import PromptRun
from agentscope_tuner.select.prompt_trials import PromptTrials
from agentscope_tuner.select.proposals import Tried, shortened, written
from agentscope_tuner.select.trials import Task
from agentscope_tuner.trajectory import RolloutGroup

EXAMPLES = 3
"""Tasks that a proposer sees with their answers."""
FEWEST_TASKS = 8
"""In the first round, if there are as many."""


class Search:
    """Looks for the best of `prompts` prompts on at most `most_tasks` tasks."""

    def __init__(
        self,
        trials: PromptTrials,
        proposer: OpenModel,
        run: PromptRun,
        seed: int,
        prompts: int,
        most_tasks: int,
    ) -> None:
        self._trials, self._proposer, self._run = trials, proposer, run
        self._seed, self._prompts, self._most_tasks = seed, prompts, most_tasks

    async def best(self, first: str, tasks: Sequence[Task]) -> str:
        """The best prompt. Raises RunError if every task of the first prompt failed."""
        order = np.random.default_rng(self._seed).permutation(len(tasks))[: self._most_tasks]
        numbered = [(int(at), tasks[at]) for at in order]
        rounds = max(1, math.ceil(math.log2(self._prompts + 1)))
        few = min(len(numbered), max(FEWEST_TASKS, len(numbered) >> rounds))
        groups = {first: await self._trials.groups("train", first, numbered[:few])}
        if not any(group.rewards for group in groups[first]):
            error = groups[first][0].rollouts[0].error
            why = "" if error is None else f" The first said: {error.message}"
            raise RunError(f"Every task of the first prompt failed.{why}")
        for round_ in (1, 2):
            for prompt in await self._proposals(round_, first, groups):
                groups[prompt] = await self._trials.groups("train", prompt, numbered[:few])
            self._write(groups)
        alive = _ranked(groups)
        while few < len(numbered) and len(alive) > 1:
            few = min(len(numbered), 2 * few)
            alive = alive[: max(1, len(alive) // 2)] if len(alive) > 2 else alive
            groups = {
                prompt: await self._trials.groups("train", prompt, numbered[:few])
                for prompt in alive
            }
            self._write(groups)
            alive = _ranked(groups)
        return alive[0]

    async def _proposals(
        self, round_: int, first: str, groups: dict[str, list[RolloutGroup]]
    ) -> list[str]:
        """The prompts of a round, new ones only."""
        tried = [_tried(prompt, given) for prompt, given in groups.items()]
        base = max(tried, key=lambda one: one.reward).prompt
        cuts = list(dict.fromkeys([*shortened(base), *shortened(first)]))
        cuts = [cut for cut in cuts if cut not in groups]
        new = [at for at in range(self._prompts // 2) if self._run.proposal(round_, at) is None]
        by_model = [at for at in new if at % 2 == 0 or len(cuts) <= at // 2]
        made = await asyncio.gather(*(self._written(tried, round_, at) for at in by_model))
        texts = dict(zip(by_model, made, strict=True))
        for at in new:
            written_ = at in texts
            prompt = texts[at] if written_ else cuts[at // 2]
            self._run.propose(round_, at, prompt, "written" if written_ else "shortened")
        prompts = (self._run.proposal(round_, at) for at in range(self._prompts // 2))
        return list(dict.fromkeys(one for one in prompts if one and one not in groups))

    async def _written(self, tried: Sequence[Tried], round_: int, number: int) -> str:
        return await written(self._proposer, tried, number, (self._seed, round_)) or ""

    def _write(self, groups: dict[str, list[RolloutGroup]]) -> None:
        best = _ranked(groups)[0]
        rewards = [reward for given in groups.values() for one in given for reward in one.rewards]
        self._run.step(
            [group for given in groups.values() for group in given],
            {
                "prompts": float(len(groups)),
                "tasks": float(len(groups[best])),
                "reward/mean": fmean(rewards),
                "reward/best": _tried(best, groups[best]).reward,
            },
        )


def _ranked(groups: dict[str, list[RolloutGroup]]) -> list[str]:
    """Best first; of equals the one that was tried first."""
    return sorted(groups, key=lambda prompt: -_tried(prompt, groups[prompt], _worst(groups)).reward)


def _worst(groups: dict[str, list[RolloutGroup]]) -> float:
    return min(reward for given in groups.values() for one in given for reward in one.rewards)


def _tried(prompt: str, groups: Sequence[RolloutGroup], worst: float = 0.0) -> Tried:
    """A failed task counts as the worst reward that any prompt reached."""
    rollouts = [group.rollouts[0] for group in groups]
    rewards = [worst if one.reward is None else one.reward for one in rollouts]
    shown = sorted(rollouts, key=lambda one: worst if one.reward is None else one.reward)
    examples = [(one.task, one.response, one.reward) for one in shown[:EXAMPLES]]
    return Tried(prompt, fmean(rewards), examples)
