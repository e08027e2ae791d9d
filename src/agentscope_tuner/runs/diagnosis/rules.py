"""All rules, the gravest first, and the doctor who applies them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from agentscope_tuner.runs.diagnosis.answers import near_copies, paying_phrase
from agentscope_tuner.runs.diagnosis.case import Case
from agentscope_tuner.runs.diagnosis.finding import SEVERITIES, Finding
from agentscope_tuner.runs.diagnosis.follows import follows_length, follows_metric
from agentscope_tuner.runs.diagnosis.held_out import held_out
from agentscope_tuner.runs.diagnosis.policy import (
    entropy_collapse,
    gradient_spike,
    sampler_gap,
    still_weights,
)
from agentscope_tuner.runs.diagnosis.rewards import constant_reward, uniform_groups
from agentscope_tuner.runs.diagnosis.rollouts import failures, slow_judge, straggler, truncated
from agentscope_tuner.runs.files import RunFiles

Rule = Callable[[Case], Iterable[Finding]]
RULES: tuple[Rule, ...] = (
    constant_reward,
    uniform_groups,
    failures,
    truncated,
    held_out,
    sampler_gap,
    entropy_collapse,
    still_weights,
    follows_length,
    follows_metric,
    near_copies,
    paying_phrase,
    gradient_spike,
    straggler,
    slow_judge,
)


def diagnose(files: RunFiles, *, over: bool = True) -> list[Finding]:
    """What is wrong with a run, the gravest first; empty: nothing that a rule knows.

    `over`: whether to say what is only known at the end. Raises InputError if files are damaged.
    """
    case = Case(files, over=over)
    found = [finding for rule in RULES for finding in rule(case)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


class Doctor:
    """Looks at a run while it goes on, and says each thing once.

    At step `FIRST`, and again whenever the run has become longer by a tenth: a look costs what
    there is to look at, so all looks together cost no more than a few at the end.
    """

    FIRST = 3

    def __init__(self, run_directory: Path) -> None:
        self._files = RunFiles(run_directory)
        self._next = self.FIRST
        self._said: set[str] = set()

    def is_due(self, step: int) -> bool:
        """Whether to look after this step."""
        return step >= self._next

    def look(self, step: int) -> list[Finding]:
        """What has not been said yet. Raises InputError as `diagnose`."""
        self._next = max(step + 1, step * 11 // 10)
        found = [f for f in diagnose(self._files, over=False) if f.rule not in self._said]
        self._said |= {finding.rule for finding in found}
        return found
