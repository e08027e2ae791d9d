"""What models reached on evaluation sets, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from agentscope_tuner.visible import visible

if TYPE_CHECKING:  # heavy
    from agentscope_tuner.engine.scores import ModelScores, Score
    from agentscope_tuner.rollout.estimate import Estimate


def score_table(models: Sequence[ModelScores]) -> Table:
    """A column a model, and under each evaluation set a row a number; the first is the baseline."""
    table = Table("", *(escape(visible(model.name)) for model in models))
    for column in table.columns[1:]:
        column.justify = "right"
        column.overflow = "fold"  # checkpoints of one run differ at the end of their names
    for scores in zip(*(model.scores for model in models), strict=True):
        first: Score = scores[0]
        tasks, samples = len(first.groups), first.evaluation.samples
        title = f"{first.evaluation.name}: {tasks} tasks x {samples}"
        table.add_section()
        table.add_row(escape(visible(title)), style="bold")
        table.add_row("reward", *(_plus_minus(score.reward) for score in scores))
        if len(scores) > 1:
            changes = (_plus_minus(score.change_from(first), "+") for score in scores[1:])
            table.add_row("change", "", *changes)
        for k in first.pass_at:
            table.add_row(f"pass@{k}", *(f"{score.pass_at[k]:.3f}" for score in scores))
        table.add_row("failed", *(_failures(score) for score in scores))
        lengths = (score.metrics["rollout/response_tokens"] for score in scores)
        table.add_row("response tokens", *(f"{length:.1f}" for length in lengths))
        table.add_row("seconds", *(f"{score.seconds:.1f}" for score in scores))
    return table


def _plus_minus(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.mean:{sign}.3f} ± {estimate.standard_error:.3f}"


def _failures(score: Score) -> str:
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(score.failures.items()))
    return f"{score.failures.total()} ({kinds})" if kinds else "0"
