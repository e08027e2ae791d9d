"""Processor time that a model call costs beside the model."""

from __future__ import annotations

import statistics

from models import MODEL
from race import Contestant
from results import Outcome, Row

from agentscope_tuner.inference.loading import resolve_model

BUDGET_MS = 2.0
CONVERSATIONS = 30


def measure(quick: bool) -> Outcome:
    """Of short and of long conversations."""
    repeats = 2 if quick else 5
    rows = []
    with Contestant("ours-call", "call_ours.py", {"model": str(resolve_model(MODEL))}) as ours:
        for turns in (1, 10):
            request = {"turns": turns, "conversations": CONVERSATIONS}
            ours.ask(request)  # warms up
            answers = [ours.ask(request) for _ in range(repeats)]
            costs = [1000 * answer["ours"] for answer in answers]
            theirs = statistics.median(1000 * answer["theirs"] for answer in answers)
            cost = statistics.median(costs)
            rows.append(
                Row(
                    f"processor time that we add to a model call, conversations of {turns} turns",
                    "ms",
                    target=1.0,
                    lower_is_better=True,
                    ours=cost,
                    against="budget",
                    peer=BUDGET_MS,
                    ratio=cost / BUDGET_MS,
                    spread=(min(costs) / BUDGET_MS, max(costs) / BUDGET_MS),
                    note=f"AgentScope and the openai SDK: {theirs:.1f} ms",
                )
            )
    return Outcome(rows)
