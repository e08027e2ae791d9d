"""The defaults that the page on hyper-parameters names are the defaults."""

from __future__ import annotations

import re
from functools import reduce

import pytest
from pages import ROOT, text_of

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
