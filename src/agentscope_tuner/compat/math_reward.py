"""The module that answers to `trinity.common.rewards.math_reward`, from which published judges
import `MathBoxedRewardFn`.

Answers are compared as text in a normal form, as there: what is written otherwise but means the
same number (1/2 and 0.5, 1,000 and 1000) is not equal.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["MathBoxedRewardFn"]

_WRAPPERS = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_SPELLINGS = (
    *((r"\left", ""), (r"\right", ""), (r"\!", ""), (r"\,", ""), (r"\;", ""), (r"\ ", " ")),
    *((r"\$", ""), ("$", ""), (r"^{\circ}", ""), (r"^\circ", "")),
    *((r"\dfrac", r"\frac"), (r"\tfrac", r"\frac"), (r"\neq", r"\ne")),
    *((r"\leq", r"\le"), (r"\geq", r"\ge")),
)
_WORDS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen twenty"""
_NUMBERS = {word: str(number) for number, word in enumerate(_WORDS.split())}
_SUMS_OF_MONEY = {"dollar", "dollars", "cent", "cents", "euro", "euros"}
"""Words after a number that are a part of the answer; others name what was counted."""


class MathBoxedRewardFn:
    r"""1 if the last `\boxed{...}` of an answer is the truth, else 0."""

    def __init__(self, **kwargs: Any) -> None:
        """Arguments are taken and have no meaning, as in Trinity-RFT."""

    def __call__(
        self,
        response: str | None,
        truth: str | None = None,
        with_think: bool | None = False,
        format_score_coef: float | None = 0.1,
        **kwargs: Any,
    ) -> dict[str, float]:
        """`accuracy`, 1 or 0, and `format_score`, 0 or `-format_score_coef`.

        Args:
            response: What the model wrote; None: nothing, which is wrong.
            truth: The right answer, alone or in a box of its own.
            with_think: Whether the answer has to hold exactly one `<think>...</think>`.
            format_score_coef: What it costs if it does not; 0 and None: 0.1.
            **kwargs: Not looked at, as in Trinity-RFT.
        """
        answer = boxed(response or "")
        right = None if truth is None else boxed(truth) or truth
        equal = answer is not None and right is not None and normal(answer) == normal(right)
        misshapen = with_think and not _thinks_once(response or "")
        cost = (format_score_coef or 0.1) if misshapen else 0.0
        return {"accuracy": float(equal), "format_score": -cost if cost else 0.0}


def boxed(text: str) -> str | None:
    r"""What the last `\boxed{...}`, `\boxed ...` or `\fbox{...}` holds; None: nothing, no such box,
    or one that is not closed."""
    boxes = list(re.finditer(r"\\boxed(?=[\s{])", text)) or list(re.finditer(r"\\fbox(?=\{)", text))
    if not boxes:
        return None
    rest = text[boxes[-1].end() :]
    if not rest.startswith("{"):
        return rest.split("$")[0].strip() or None
    depth = 0
    for at, character in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return rest[1:at].strip() or None
    return None


def normal(answer: str) -> str:
    """The form in which answers are compared."""
    text = answer.strip().replace("\n", " ")
    while _WRAPPERS.search(text):
        text = _WRAPPERS.sub(r" \1 ", text)
    for spelling, same in _SPELLINGS:
        text = text.replace(spelling, same)
    text = re.sub(r"^\s*[a-zA-Z]\s*=", "", text).strip().rstrip(".").strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1].strip()
    counted = re.fullmatch(r"(-?[\d.]+|[a-zA-Z]+)((?:\s+[a-zA-Z]+)*)", text)
    if counted is not None:
        number = _NUMBERS.get(counted[1].lower(), counted[1])
        words = counted[2].lower().split()
        if number[-1:].isdigit() and not _SUMS_OF_MONEY & set(words):
            text = number
    text = re.sub(r"(?<![\d.,])0+(?=\d)", "", text)
    text = re.sub(r"(?<![\d.])(\d*)\.0*(?!\d)", r"\1", text)
    text = re.sub(r"(?<!\d)\.(?=\d)", "0.", text)
    text = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"^(-?\d+)\s*/\s*(-?\d+)$", r"\\frac{\1}{\2}", text)
    return re.sub(r"\s+", "", text)


def _thinks_once(text: str) -> bool:
    tags = ("<think>", "</think>")
    return all(text.count(tag) == 1 for tag in tags) and text.find(tags[0]) < text.find(tags[1])
