"""The judge of the page on judges gives what it says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agentscope.message import Msg
from pages import ROOT, blocks


@pytest.mark.parametrize(
    ("said", "reward"), [("It is 4.", 1.0), ("4 or 14", 0.1), ("14", 0.1), ("four", 0.0), ("", 0.0)]
)
def test_the_judge_of_the_page_judges(said: str, reward: float) -> None:
    [program] = blocks(ROOT / "docs" / "judges.md", "python")
    names: dict[str, Any] = {}
    exec(program, names)
    judged = asyncio.run(names["judge"]({"answer": "4"}, Msg("a", said, "assistant")))
    assert judged.reward == reward
    assert judged.explanation.endswith("for 4")
