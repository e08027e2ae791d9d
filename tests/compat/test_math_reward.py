"""The boxed answers of mathematics problems, right and wrong."""

from __future__ import annotations

import pytest

from agentscope_tuner.compat.math_reward import MathBoxedRewardFn, boxed

EQUAL = [
    *(("8", written) for written in ("8", "8.0", "8.", "08", "{8}", r"\text{8}", "x=8", "eight")),
    *(("8", written) for written in ("8 apples", r"\$8", "$8$", " 8 ", r"\mathbf{8}", "8.00")),
    *(("8", written) for written in (r"8\text{ apples}", "n = 8", r"8^\circ", "Eight")),
    (r"\boxed{8}", "8"),
    (r"\frac{1}{2}", "1/2"),
    (r"\frac{1}{2}", r"\dfrac{1}{2}"),
    (r"\frac{1}{2}", r"\tfrac12"),
    ("0.5", ".5"),
    ("-3", "-3"),
    ("-3", "x = -3.0"),
    ("(1, 2)", r"\left(1,2\right)"),
    (r"\sqrt{2}", r"\sqrt{2}"),
    ("x^2+1", "x^2 + 1"),
    ("yes", r"\text{yes}"),
    ("100", "100"),
    ("10.25", "10.25"),
    ("0", "zero"),
]
UNEQUAL = [
    ("1000", "1,000"),
    ("8", "8 dollars"),
    ("5", "5%"),
    ("0.5", "1/2"),
    ("8", "-8"),
    ("8", "80"),
    ("8", "0.8"),
    ("8", "9 apples"),
    ("8", ""),
    ("10", "1"),
    ("100", "1"),
    ("yes", "no"),
    ("x", "y"),
    ("(1, 2)", "(2, 1)"),
    ("12", "one two"),
]


@pytest.mark.parametrize(("truth", "written"), EQUAL)
def test_equal_answers(truth: str, written: str) -> None:
    response = rf"So it is \boxed{{1}}, no: \boxed{{{written}}}. Done."
    assert MathBoxedRewardFn()(response, truth) == {"accuracy": 1.0, "format_score": 0.0}


@pytest.mark.parametrize(("truth", "written"), UNEQUAL)
def test_unequal_answers(truth: str, written: str) -> None:
    scores = MathBoxedRewardFn()(response=rf"It is \boxed{{{written}}}.", truth=truth)
    assert scores["accuracy"] == 0.0


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"\boxed{a}", "a"),
        (r"\boxed{a} and \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\fbox{a}", "a"),
        (r"$\boxed 8$ is it", "8"),
        (r"\boxed {8}", "{8}"),
        (r"\boxed{8", None),
        (r"\boxed{}", None),
        ("8", None),
        ("", None),
    ],
)
def test_the_last_box_counts(text: str, inside: str | None) -> None:
    assert boxed(text) == inside


@pytest.mark.parametrize("response", [None, "", "8", r"\boxed{8"])
def test_without_a_box_an_answer_is_wrong(response: str | None) -> None:
    assert MathBoxedRewardFn()(response, "8")["accuracy"] == 0.0
    assert MathBoxedRewardFn()(r"\boxed{8}", None)["accuracy"] == 0.0


def test_thinking_is_scored_only_when_it_is_asked_for() -> None:
    reward = MathBoxedRewardFn()
    right = r"\boxed{8}"
    assert reward(right, "8")["format_score"] == 0.0
    assert reward(right, "8", with_think=True)["format_score"] == -0.1
    assert reward(right, "8", with_think=True, format_score_coef=0.3)["format_score"] == -0.3
    assert reward(f"<think>hm</think>{right}", "8", with_think=True)["format_score"] == 0.0
    assert reward(f"</think><think>{right}", "8", with_think=True)["format_score"] == -0.1
