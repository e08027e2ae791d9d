"""The audit's part that reads answers: copies of each other, and phrases that came to pay."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from agentscope_tuner.runs.diagnosis.case import Case, answer, preview
from agentscope_tuner.runs.diagnosis.finding import Finding

COPIES, VARIED = 0.9, 0.6
"""Mean overlap of two answers of a group: now at least, and at the beginning at most."""
RARE, COMMON = 0.05, 0.5
"""Share of answers with a phrase: of the first step at most, of the rewarded ones now at least."""
_WORDS = 8
"""Shorter answers are often rightly the same."""
_PHRASE = 5
"""Words."""
_TASKS = 5
"""From which the rewarded answers have to come."""

Sample = Sequence[tuple[int, dict[str, Any]]]


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
    """A phrase that was rare at the beginning is in most of the rewarded answers."""
    if not case.reward_rose:
        return
    first = [_phrases(answer(stored)) for _, stored in case.first_sample]
    rewards = [s["reward"] for _, s in case.last_sample if s["reward"] is not None]
    earned = [
        (row, stored, _phrases(answer(stored)))
        for row, stored in case.last_sample
        if stored["reward"] is not None and stored["reward"] > min(rewards)
    ]
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
        having = [(row, stored) for row, stored, phrases in earned if phrase in phrases][:3]
        yield Finding(
            "paying-phrase",
            "medium",
            f"{preview(' '.join(phrase))} was rare and is in {count / len(earned):.0%} of the "
            "rewarded answers now.",
            f"in {then[phrase]} of {len(first)} answers of step {case.steps[0]}, in {count} of "
            f"{len(earned)} rewarded ones of step {case.steps[-1]}",
            "Read them: if the phrase alone is what pays, mend the judge.",
            case.seen([row for row, _ in having], [preview(answer(s)) for _, s in having]),
        )
        return


def _overlap(sample: Sample) -> tuple[float | None, list[int]]:
    """The mean share of phrases that two answers of a group have in common, and one group's
    rows."""
    groups: defaultdict[str, list[tuple[int, frozenset[tuple[str, ...]]]]] = defaultdict(list)
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


def _phrases(text: str) -> frozenset[tuple[str, ...]]:
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
