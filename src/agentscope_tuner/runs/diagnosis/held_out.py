"""What held-out tasks say of what was learnt."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, nan

from agentscope_tuner.rollout.estimate import Estimate
from agentscope_tuner.runs.diagnosis.case import WINDOW, Case
from agentscope_tuner.runs.diagnosis.finding import Finding
from agentscope_tuner.runs.estimates import evaluated_steps, paired_change, task_means

MAX_TASKS = 100_000
"""More tasks than this to tell a change apart: there is none to speak of."""


def held_out(case: Case) -> Iterator[Finding]:
    """At the end: the held-out reward has not changed by more than its error."""
    if not case.over:
        return
    for name, steps in evaluated_steps(case.table).items():
        if len(steps) < 2:
            continue
        first, last = steps[0], steps[-1]
        change = paired_change(
            task_means(case.table, name, first), task_means(case.table, name, last)
        )
        tasks, mean = len(change.moves), change.estimate.mean
        error = change.estimate.standard_error
        if tasks < 2 or change.tells_apart:
            continue
        evidence = (
            f"eval/{name}/reward/mean changes by {mean:+.3f} ± {error:.3f} from step {first} to "
            f"{last}, over {tasks} tasks"
        )
        trained = _training_between(case, first, last)
        rose = trained.mean > 2 * trained.standard_error  # False for NaN
        if rose and mean + 2 * error < trained.mean:
            yield Finding(
                "held-out-flat",
                "medium",
                f"Training's reward rises and that of {name} hardly does: what is learnt may be "
                "of use on the training tasks alone.",
                f"{evidence}; training's changes by {trained.mean:+.3f} ± "
                f"{trained.standard_error:.3f}",
                "Take more, and more varied, training tasks; keep_best keeps the best checkpoint.",
            )
            continue
        needed = ceil(tasks * (2 * error / mean) ** 2) if mean else MAX_TASKS + 1
        if needed <= tasks:
            continue
        could = f": {needed:,} could" if needed <= MAX_TASKS else ""
        yield Finding(
            "within-the-error",
            "low",
            f"{tasks} tasks of {name} cannot tell the model at the end from the one at the "
            f"beginning{could}.",
            evidence,
            "Evaluate on more tasks, or take more samples of each (repeat_times), before you "
            "believe a change.",
        )


def _training_between(case: Case, first: int, last: int) -> Estimate:
    """How training's reward changed between two evaluations; NaN in too few steps to have a
    beginning and an end, where a few easy tasks would pass for a rise."""
    steps = [step for step in case.steps if first < step <= last]
    if len(steps) < 2 * WINDOW:
        return Estimate(nan, nan)
    return case.reward_between(steps[:WINDOW], steps[-WINDOW:])
