"""The defaults that the page on hyper-parameters names are the defaults."""

from __future__ import annotations

import re
from functools import reduce

import pytest
import yaml
from pages import ROOT, text_of

from agentscope_tuner.cli.init import TEMPLATE
from agentscope_tuner.config.schema import Config

PAGE = text_of(ROOT / "docs" / "hyper_parameters.md")
ROWS = re.findall(r"^\| `(\w+\.[\w.]+)`[^|]* \| ([^|]+) \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("key", "said"), ROWS[1:])
def test_a_default_is_the_default(key: str, said: str) -> None:
    value = reduce(getattr, key.split("."), Config())
    if value is None:
        assert said == "none"
    else:
        assert float(said.partition(":")[0]) == value


def test_answers_are_as_long_as_they_may_be_unless_they_are_limited() -> None:
    key, said = ROWS[0]
    assert (key, said) == ("model.max_response_tokens", "8192, or what the context leaves")
    assert Config().model.max_response_tokens is None


def test_the_page_has_defaults() -> None:
    assert len(ROWS) == 8


def test_programs_on_the_arithmetic_examples_tasks_learn_at_its_rate() -> None:
    text = (ROOT / "examples/arithmetic/main.py").read_text(encoding="utf-8")
    [rate] = re.findall(r"learning_rate=(\S+?),", text)
    assert f"| {rate}, the example's own" in PAGE
    for program in (ROOT / "examples").glob("*/main.py"):
        text = program.read_text(encoding="utf-8")
        if '"arithmetic" / "data"' in text:
            assert f"learning_rate={rate})" in text, program
    begun = yaml.safe_load((TEMPLATE / "config.yaml").read_text(encoding="utf-8"))
    assert begun["algorithm"]["optimizer"]["lr"] == float(rate)


def test_what_our_runs_took_is_what_their_programs_say() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(\S+\)[^|]* \| (\d+) \| (\S+) \|", PAGE, re.MULTILINE)
    assert len(rows) == 7
    for name, tokens, rate in rows:
        text = (ROOT / "examples" / name / "main.py").read_text(encoding="utf-8")
        assert re.search(rf"max_tokens\W+{tokens}\b", text), name
        assert rate in re.findall(r"learning_rate=([\d.e-]+)", text), name


def test_the_rules_that_are_named_end_where_the_page_says() -> None:
    names, low, high = re.search(
        r"rate: (`\w+`.*?) at the same settings end between\s+(\S+) and (\S+),", PAGE, re.DOTALL
    ).groups()
    league = dict(
        re.findall(
            r"^\| `(\w+)` \| 3 \| .+? \| (\S+) ±", text_of(ROOT / "docs/league.md"), re.MULTILINE
        )
    )
    ends = [float(league[name]) for name in re.findall(r"`(\w+)`", names)]
    assert len(ends) == len(league) == 10
    assert all(float(low) <= round(end, 2) <= float(high) for end in ends)
