"""Drawn rollouts as plain data, which every environment reads.

A draw is a list of groups, a group a list of rollouts, a rollout {"reward", "dense", "expert",
"truncated", "calls"}, and a call has its `state`, its `step_reward`, which counts where the rollout
is `dense`, and one number a token under each name of `NAMES`: log-probabilities of the learner
(`logprob`), of the sampler and of frozen models, values of a critic before and after (`value`,
`prediction`), returns, entropies and advantages.
"""

from __future__ import annotations

import random
from typing import Any

Call = dict[str, Any]
Rollout = dict[str, Any]
Draw = list[list[Rollout]]

NAMES = (
    "sampler",
    "logprob",
    "reference",
    "teacher",
    "value",
    "prediction",
    "return",
    "entropy",
    "advantage",
)


def draw(
    seed: int,
    *,
    groups: int = 3,
    rollouts: int = 4,
    calls: tuple[int, int] = (1, 1),
    tokens: tuple[int, int] = (2, 7),
    experts: int = 0,
    spread: float = 0.5,
    on_policy: bool = False,
    rewards: str = "any",
    states: str = "per task",
    dense: bool = False,
    lone: bool = False,
    truncated: bool = False,
) -> Draw:
    """Draw rollouts.

    Args:
        calls: Least and greatest number of model calls of a rollout.
        tokens: Least and greatest number of tokens of a call.
        experts: Rollouts of a last group that somebody wrote down; they have no reward.
        spread: Standard deviation of what two models' log-probabilities differ by.
        on_policy: Whether learner and sampler agree.
        rewards: `any` different ones, `equal` ones, or in each group `one good` one.
        states: Whether what an agent sees recurs `per task` or `across tasks`.
        dense: Whether each call has a reward of its own.
        lone: Whether the last group has one rollout only.
        truncated: Whether the last rollout was cut off by a length limit.
    """
    rng = random.Random(seed)

    def a_call(group: int, advantage: float) -> Call:
        call: Call = {name: [] for name in NAMES}
        for _ in range(rng.randint(*tokens)):
            logprob = -rng.uniform(0.05, 3.0)
            call["logprob"].append(logprob)
            call["sampler"].append(logprob if on_policy else near(logprob))
            call["reference"].append(near(logprob))
            call["teacher"].append(near(logprob))
            for name in ("value", "prediction", "return"):
                call[name].append(rng.gauss(0, 0.7))
            call["entropy"].append(rng.uniform(0.1, 2.0))
            call["advantage"].append(advantage)
        task = f"{group}/" if states == "per task" else ""
        return call | {"state": f"{task}{rng.randint(0, 2)}", "step_reward": rng.gauss(0, 1)}

    def near(logprob: float) -> float:
        return min(logprob + rng.gauss(0, spread), -0.01)

    def a_rollout(group: int, number: int, expert: bool = False) -> Rollout:
        reward = {"equal": 0.7, "one good": float(number == 0)}.get(rewards, rng.uniform(-1, 1))
        advantage = rng.gauss(0, 1)
        return {
            "reward": None if expert else reward,
            "dense": dense,
            "expert": expert,
            "truncated": False,
            "calls": [a_call(group, advantage) for _ in range(rng.randint(*calls))],
        }

    drawn = [[a_rollout(g, n) for n in range(rollouts)] for g in range(groups)]
    drawn[-1][-1]["truncated"] = truncated
    if lone:
        del drawn[-1][1:]
    if experts:
        drawn.append([a_rollout(groups, n, expert=True) for n in range(experts)])
    return drawn
