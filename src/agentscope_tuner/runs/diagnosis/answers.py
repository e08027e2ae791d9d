"""The audit's part that reads answers: copies of each other, and phrases that came to pay."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import nan
from typing import Any

import numpy as np

from agentscope_tuner.runs.diagnosis.case import Case, answer, preview
from agentscope_tuner.runs.diagnosis.finding import Finding

COPIES, VARIED = 0.9, 0.6
"""Mean overlap of two answers of a group: now at least, and at the beginning at most."""
RARE, COMMON = 0.05, 0.5
"""Share of answers with a phrase: of the first step at most, of the rewarded ones now at least."""
PAYS, ELSE = 0.9, 0.6
"""What answers with a phrase earn on average, at least, and those without, at most, between the
lowest reward (0) and the highest (1). Where all answers have come to be put alike, the wrong ones
have the phrase too, and it does not pay by itself."""
_WORDS = 8
"""Shorter answers are often rightly the same."""
_PHRASE = 5
"""Words."""
_TASKS = 5
"""From which the rewarded answers have to come."""

Sample = Sequence[tuple[int, dict[str, Any]]]
Phrase = tuple[str, ...]
Judged = tuple[int, dict[str, Any], frozenset[Phrase]]
"""A row, what is stored of it, and the phrases of its answer."""


def near_copies(case: Case) -> Iterator[Finding]:
    """The answers of a group have become near copies of each other."""
    (before, _), (after, rows) = _overlap(case.first_sample), _overlap(case.last_sample)
    if before is None or after is None or before > VARIED or after < COPIES:
        return
    yield Finding(
        "near-copies",
        "medium",
        "The answers of a group have become near copies of each other: nothing new is tried.",
        f"{after:.0%} of their phrases are shared in step {case.steps[-1]}, {before:.0%} were in "
        f"step {case.steps[0]}",
        "Sample at a higher temperature, or stop at an earlier checkpoint.",
        case.seen(rows),
    )


def paying_phrase(case: Case) -> Iterator[Finding]:
    """A phrase that was rare at the beginning is in most of the rewarded answers, and those that
    have it earn nearly the most, whatever else they say."""
    if not case.reward_rose:
        return
    first = [_phrases(answer(stored)) for _, stored in case.first_sample]
    judged = [
        (row, stored, _phrases(answer(stored)))
        for row, stored in case.last_sample
        if stored["reward"] is not None
    ]
    low = min((stored["reward"] for _, stored, _ in judged), default=0.0)
    earned = [one for one in judged if one[1]["reward"] > low]
    tasks = {str(stored["task"]) for _, stored, _ in earned}
    if not first or len(tasks) < _TASKS:
        return
    given = " ".join(_words(" ".join([*tasks, *(_asked(stored) for _, stored, _ in earned)])))
    then = Counter(phrase for phrases in first for phrase in phrases)
    now = Counter(phrase for _, _, phrases in earned for phrase in phrases)
    for phrase, count in now.most_common():
        if count <= COMMON * len(earned):
            return
        if then[phrase] > RARE * len(first) or " ".join(phrase) in given:
            continue
        having, lacking = _earnings(phrase, judged)
        if not (having >= PAYS and lacking <= ELSE):  # false for NaN
            continue
        shown = [(row, stored) for row, stored, phrases in earned if phrase in phrases][:3]
        yield Finding(
            "paying-phrase",
            "medium",
            f"{preview(' '.join(phrase))} was rare and is in {count / len(earned):.0%} of the "
            "rewarded answers now.",
            f"in {then[phrase]} of {len(first)} answers of step {case.steps[0]}, in {count} of "
            f"{len(earned)} rewarded ones of step {case.steps[-1]}, where answers with it earn "
            f"{having:.2f} of what can be had and those without it {lacking:.2f}",
            "Read them: if the phrase alone is what pays, mend the judge.",
            case.seen([row for row, _ in shown], [preview(answer(s)) for _, s in shown]),
        )
        return


def _earnings(phrase: Phrase, judged: Sequence[Judged]) -> tuple[float, float]:
    """Mean reward of the answers with a phrase and of those without it, from the lowest (0) to the
    highest (1); NaN where there is none."""
    rewards = np.array([stored["reward"] for _, stored, _ in judged], float)
    parts = (rewards - rewards.min()) / np.ptp(rewards)
    has = np.array([phrase in phrases for _, _, phrases in judged])
    with_it, without = (float(parts[of].mean()) if of.any() else nan for of in (has, ~has))
    return with_it, without


def _overlap(sample: Sample) -> tuple[float | None, list[int]]:
    """The mean share of phrases that two answers of a group have in common, and one group's
    rows."""
    groups: defaultdict[str, list[tuple[int, frozenset[Phrase]]]] = defaultdict(list)
    for row, stored in sample:
        if len(_words(answer(stored))) >= _WORDS:
            groups[stored["group"]].append((row, _phrases(answer(stored))))
    shares = [
        len(a & b) / max(len(a | b), 1)
        for members in groups.values()
        for (_, a), (_, b) in combinations(members, 2)
    ]
    if not shares:
        return None, []
    return sum(shares) / len(shares), [row for row, _ in max(groups.values(), key=len)[:2]]


def _phrases(text: str) -> frozenset[Phrase]:
    words = _words(text)
    return frozenset(tuple(words[at : at + _PHRASE]) for at in range(len(words) - _PHRASE + 1))


def _words(text: str) -> list[str]:
    return text.casefold().split()


def _asked(stored: dict[str, Any]) -> str:
    return " ".join(
        str(message.get("content"))
        for call in stored["trajectory"]["calls"]
        for message in call["messages"]
    )
