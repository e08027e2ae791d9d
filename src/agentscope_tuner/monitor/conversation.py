"""A rollout as text that a person can read in a monitor."""

from __future__ import annotations

import json
from typing import Any

from agentscope_tuner.plain_text import plain_text
from agentscope_tuner.trajectory import Rollout


def as_markdown(rollout: Rollout) -> str:
    """The conversation of a rollout's last model call, with its reward or its error."""
    lines = [_outcome(rollout)]
    if rollout.trajectory.calls:
        last = rollout.trajectory.calls[-1]
        lines += [_message(message) for message in [*last.messages, last.response]]
    return plain_text("\n\n".join(lines))


def _outcome(rollout: Rollout) -> str:
    if rollout.error is not None:
        return f"**failed** ({rollout.error.kind}): {rollout.error.message}"
    return "a demonstration" if rollout.reward is None else f"**reward** {rollout.reward:g}"


def _message(message: dict[str, Any]) -> str:
    return "\n\n".join([f"**{message['role']}**", *said(message)])


def said(message: dict[str, Any]) -> list[str]:
    """What a message in OpenAI's form says, part by part: thinking, text, tool calls."""
    thinking = message.get("reasoning_content")
    parts = [
        f"<thinking> {thinking} </thinking>" if thinking else "",
        _text(message.get("content")),
    ]
    parts += [
        f"[calls {call['function']['name']}({call['function']['arguments']})]"
        for call in message.get("tool_calls") or []
    ]
    return [part for part in parts if part]


def _text(content: Any) -> str:
    """Text of a message's content, which OpenAI's form allows to be a string or a list of parts."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.get("text") or json.dumps(part, ensure_ascii=False) for part in content)
