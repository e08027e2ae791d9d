"""Demonstrations: written conversations, as the trajectories that rollouts saying them would leave.

A conversation is replayed through the recorder of rollouts: every assistant message becomes a call
whose prompt is what the endpoint would have rendered, with its tokens in place of sampled ones.
So what is imitated is token by token what the model will be asked and will have to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.messages import canonical
from agentscope_tuner.chat.recorder import Recorder, Settings
from agentscope_tuner.chat.rendering import ChatRenderer
from agentscope_tuner.chat.request import Message, Tool
from agentscope_tuner.errors import InputError
from agentscope_tuner.trajectory import Sampled, Trajectory


class Conversation(BaseModel):
    """What is read of a sample; its other fields are not looked at."""

    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] | None = None


def demonstrate(
    renderer: ChatRenderer, sample: Mapping[str, Any], max_model_len: int
) -> Trajectory:
    """The trajectory of a rollout in which the model said what the sample's assistant says.

    Args:
        renderer: The model's.
        sample: OpenAI's `messages` and, if there are any, `tools`; a field that is None is absent.
        max_model_len: Most tokens of a prompt and its answer.

    Raises:
        InputError: The sample is no conversation, has no assistant message, the model's template
            does not take it, or it is longer than `max_model_len`.
    """
    conversation = _conversation(sample)
    messages = canonical(conversation.messages)
    tools = [tool.model_dump(exclude_none=True) for tool in conversation.tools or ()] or None
    if messages[0]["role"] == "assistant":
        raise InputError("it begins with an assistant message, which nothing asks for")
    uses_tools = tools or any(
        {"tool_calls", "tool_call_id"} & message.keys() for message in messages
    )
    refusal = renderer.refuse_tools() if uses_tools else None
    if refusal is not None:
        raise InputError(f"its tools cannot be written: {refusal}")
    trajectory = Trajectory()
    recorder = Recorder(trajectory)
    settings = Settings(json.dumps(tools), json.dumps({}))
    try:
        for at, message in enumerate(messages):
            if message["role"] == "assistant":
                plan = recorder.plan(renderer, messages[:at], tools, settings)
                ids = renderer.completion(messages[: at + 1], tools)
                certain = Sampled([0.0] * len(ids), [False] * len(ids), model="", version=0)
                recorder.record(plan, ids, certain, message, finish_reason="stop")
    except RequestError as error:
        raise InputError(str(error)) from error
    if not trajectory.calls:
        raise InputError("it has no assistant message to learn from")
    longest = max(len(trajectory.token_ids(leaf)) for leaf in trajectory.leaves())
    if longest > max_model_len:
        raise InputError(f"it has {longest} tokens, and max_model_len is {max_model_len}")
    return trajectory


def _conversation(sample: Mapping[str, Any]) -> Conversation:
    try:
        return Conversation.model_validate(_without_none(sample))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        problem = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}: {problem[:1].lower()}{problem[1:]}") from None


def _without_none(value: Any) -> Any:
    """The value without the fields that `datasets` adds because other samples have them."""
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value
