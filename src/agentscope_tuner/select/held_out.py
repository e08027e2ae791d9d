"""What a prompt is worth on tasks that it was not chosen on."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from agentscope_tuner.config.prompt_arguments import PromptTuneConfig
from agentscope_tuner.rollout.estimate import estimate_change, estimate_reward
from agentscope_tuner.select.prompt_trials import PromptTrials
from agentscope_tuner.select.trials import Task
from agentscope_tuner.trajectory import RolloutGroup


async def compare(
    trials: PromptTrials,
    first: str,
    best: str,
    tasks: Sequence[Task],
    config: PromptTuneConfig,
) -> dict[str, float]:
    """The numbers of `tune_prompt`; none without tasks."""
    if not tasks:
        return {}
    numbered = list(enumerate(tasks))
    after = await trials.groups("eval", best, numbered)
    reward = estimate_reward(after)
    numbers = {"eval/after": reward.mean, "eval/after_standard_error": reward.standard_error}
    if config.compare_performance:
        before = await trials.groups("eval", first, numbered)
        was, change = estimate_reward(before), estimate_change(before, after)
        numbers |= {
            "eval/before": was.mean,
            "eval/before_standard_error": was.standard_error,
            "eval/change": change.mean,
            "eval/change_standard_error": change.standard_error,
            "valset_improvement": 100 * change.mean / abs(was.mean) if was.mean else 0.0,
        }
        _show(before, after, numbers, config.eval_display_table)
    return numbers


def _show(
    before: Sequence[RolloutGroup],
    after: Sequence[RolloutGroup],
    numbers: dict[str, float],
    rows: int,
) -> None:
    console = Console(stderr=True)
    console.print(
        f"held out: {numbers['eval/before']:.3f} -> {numbers['eval/after']:.3f}, "
        f"{numbers['eval/change']:+.3f} ± {numbers['eval/change_standard_error']:.3f}"
    )
    if rows:
        table = Table("task", "before", "after")
        for one, other in list(zip(before, after, strict=True))[:rows]:
            table.add_row(one.id, *(str(given.rollouts[0].reward) for given in (one, other)))
        console.print(table)
