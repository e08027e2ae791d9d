"""Rollouts that fail, are cut off, or keep the others waiting."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from agentscope_tuner.runs.diagnosis.case import WINDOW, Case, span
from agentscope_tuner.runs.diagnosis.finding import Finding

TRUNCATED = 0.2
MANY_FAILURES = 0.1
"""Shares of rollouts."""
STRAGGLER = 3.0
"""Times the mean that the slowest rollout takes."""
NOTICED_S = 1.0
"""Seconds below which nobody minds."""
_DO = {
    "workflow": "Mend the workflow: `astuner check` runs one task and shows everything.",
    "judge": "Mend the judge: `astuner check` runs one task and shows everything.",
    "timeout": "Make explorer.max_timeout larger, or the answers shorter (max_tokens).",
    "output": "Return a WorkflowOutput or a JudgeOutput whose reward is a finite number.",
    "empty": "Make the workflow call the model that it is given: without a call nothing is learnt.",
    "model": "Read run.log: the model's endpoint failed, which is no fault of the workflow.",
}


def failures(case: Case) -> Iterator[Finding]:
    """Rollouts failed for good, by kind."""
    rows = case.rows(case.steps)
    errors = case.columns["error"][rows]
    for code in np.unique(errors[errors != 0]):
        kind = case.table.name("error", int(code)) or ""
        failed = rows[errors == code]
        first = int(failed[0])
        [stored] = case.files.stored([first])
        error = stored["error"] or {}
        told = (error.get("traceback") or "").strip().splitlines()
        where = next((line.strip() for line in reversed(told) if line.startswith("  File ")), "")
        share = len(failed) / len(rows)
        yield Finding(
            f"failures-{kind}",
            "high" if share > MANY_FAILURES else "low",
            f"{len(failed)} of {len(rows)} rollouts failed ({kind}): {error.get('message', '')}",
            f"rollout/failed/{kind}, first in step {int(case.columns['step'][first])}"
            + (f", at {where}" if where else ""),
            _DO.get(kind, "Look at the first one in `astuner view`."),
            case.seen([first]),
        )


def truncated(case: Case) -> Iterator[Finding]:
    """A length limit cuts many answers off."""
    steps = case.steps[-WINDOW:]
    rows = case.rows(steps)
    cut = rows[case.columns["truncated"][rows]]
    if len(steps) < WINDOW or len(cut) <= TRUNCATED * len(rows):
        return
    yield Finding(
        "truncated",
        "medium",
        f"{len(cut) / len(rows):.0%} of the rollouts were cut off by a length limit: what they "
        "would have said earns nothing.",
        f"rollout/truncated {len(cut)} of {len(rows)} in {span(steps)}",
        "Make max_tokens (model.max_response_tokens), or max_model_len, larger, or ask for shorter "
        "answers in the prompt.",
        case.seen(cut[:2].tolist()),
    )


def straggler(case: Case) -> Iterator[Finding]:
    """Each step waits for one slow rollout."""
    steps = case.steps[-WINDOW:]
    seconds, step_of = case.columns["seconds"], case.columns["step"]
    slowest, lost = [], []
    for step in steps:
        rows = case.rows([step])
        worst = int(rows[np.argmax(seconds[rows])])
        mean = float(seconds[rows].mean())
        if len(rows) > 1 and seconds[worst] > max(STRAGGLER * mean, mean + NOTICED_S):
            slowest.append(worst)
            lost.append(float(seconds[worst]) - mean)
    if len(steps) < WINDOW or len(slowest) < WINDOW:
        return
    at = int(np.argmax(lost))
    yield Finding(
        "straggler",
        "low",
        f"Each step waits for its slowest rollout, which takes over {STRAGGLER:g} times the mean.",
        f"rollout/seconds/max {seconds[slowest[at]]:.1f} s in step {step_of[slowest[at]]}, "
        f"{lost[at]:.1f} s over the mean",
        "Give explorer.max_timeout a value that cuts the slowest off, or limit turns and tokens.",
        case.seen(slowest),
    )


def slow_judge(case: Case) -> Iterator[Finding]:
    """The judge takes more time than the agent."""
    steps = case.steps[-WINDOW:]
    rows = case.rows(steps)
    judge, whole = (float(case.columns[key][rows].sum()) for key in ("judge_seconds", "seconds"))
    if len(steps) < WINDOW or judge <= whole / 2 or judge < NOTICED_S * len(rows):
        return
    yield Finding(
        "slow-judge",
        "low",
        f"The judge takes {judge / whole:.0%} of the rollouts' time, more than the agent.",
        f"judge_seconds {judge:.1f} of {whole:.1f} s in {span(steps)}",
        "Make the judge faster: a smaller model, a rule that decides the easy cases first.",
        case.seen(rows[np.argsort(-case.columns["judge_seconds"][rows])][:1].tolist()),
    )
