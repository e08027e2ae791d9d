"""What a workflow answered comes back for another judge."""

from __future__ import annotations

import json
from typing import Any

import pytest
from agentscope.message import Msg, TextBlock, ToolUseBlock

from agentscope_tuner.rollout.response import kept_response, response_of
from agentscope_tuner.trajectory import Rollout, Trajectory


def after_the_file(response: Any, text: str = "") -> Any:
    kept = json.loads(json.dumps(kept_response(response)))
    return response_of(Rollout("r", {}, Trajectory(), response=text, answer=kept))


def test_a_message_comes_back_with_its_blocks_and_its_metadata() -> None:
    blocks = [
        TextBlock(type="text", text="4"),
        ToolUseBlock(type="tool_use", id="1", name="add", input={"a": 1}),
    ]
    message = after_the_file(Msg("friday", blocks, "assistant", metadata={"sure": True}))
    assert isinstance(message, Msg)
    assert message.get_text_content() == "4"
    assert message.get_content_blocks("tool_use") == [blocks[1]]
    assert (message.name, message.metadata) == ("friday", {"sure": True})


@pytest.mark.parametrize("value", ["4", 4, {"answer": [1, 2.5, None]}, ["a", True]])
def test_what_json_has_a_form_for_comes_back_as_it_was(value: object) -> None:
    assert after_the_file(value) == value


class Board:
    """Something of the user's."""


@pytest.mark.parametrize("value", [Board(), (1, 2), {1: 2}, float("nan"), {"board": Board()}])
def test_of_anything_else_the_text_comes_back_as_a_message(value: object) -> None:
    message = after_the_file(value, text="as text")
    assert isinstance(message, Msg)
    assert message.get_text_content() == "as text"
