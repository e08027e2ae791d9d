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
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.messages import canonical
from agentscope_tuner.chat.recorder import Recorder, Settings
from agentscope_tuner.chat.rendering import ChatRenderer
from agentscope_tuner.chat.request import Message, Tool
from agentscope_tuner.errors import InputError
from agentscope_tuner.sequences import common_prefix
from agentscope_tuner.trajectory import Sampled, Segment, Trajectory


class Conversation(BaseModel):
    """What is read of a sample; its other fields are not looked at."""

    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] | None = None


def demonstrate(
    renderer: ChatRenderer, sample: Mapping[str, Any], max_model_len: int, *, given: int = 0
) -> Trajectory:
    """The trajectory of a rollout in which the model said what the sample's assistant says.

    Args:
        renderer: The model's.
        sample: OpenAI's `messages`, or a `prompt` and its `response`, messages too or plain text;
            and `tools`, if there are any. A field that is None is absent.
        max_model_len: Most tokens of a prompt and its answer.
        given: So many messages are what the model is given: they carry no loss.

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
                certain = Sampled([0.0] * len(ids), [at < given] * len(ids), model="", version=0)
                recorder.record(plan, ids, certain, message, finish_reason="stop")
    except RequestError as error:
        raise InputError(str(error)) from error
    if not trajectory.calls:
        raise InputError("it has no assistant message to learn from")
    longest = max(len(trajectory.token_ids(leaf)) for leaf in trajectory.leaves())
    if longest > max_model_len:
        raise InputError(f"it has {longest} tokens, and max_model_len is {max_model_len}")
    return trajectory


def demonstrate_pair(
    renderer: ChatRenderer, sample: Mapping[str, Any], max_model_len: int
) -> tuple[Trajectory, Trajectory]:
    """What was chosen and what was rejected, as `demonstrate` has it.

    Args:
        renderer: The model's.
        sample: `chosen` and `rejected`, a list of messages each; what comes before both may stand
            in `prompt` or `messages` instead, a list too; and `tools`, if there are any. A prompt
            that is plain text is a user's message, a side the assistant's. Only messages behind
            what both have in common carry a loss.
        max_model_len: Most tokens of a prompt and its answer.

    Raises:
        InputError: As `demonstrate`, and where the two have no common prompt, are the same, or part
            in anything but an assistant message.
    """
    sample = _without_none(sample)
    before = _messages(sample.get("prompt", sample.get("messages", [])), "user")
    sides = []
    for name in ("chosen", "rejected"):
        side = _messages(sample.get(name), "assistant")
        if not isinstance(side, list) or not isinstance(before, list):
            raise InputError(
                f"a pair needs {name!r}, and a prompt if it is apart: lists of messages, or text"
            )
        sides.append([*before, *side])
    chosen, rejected = sides
    given = common_prefix(chosen, rejected)
    if given == 0:
        raise InputError("chosen and rejected have no common prompt")
    if chosen == rejected:
        raise InputError("chosen and rejected are the same")
    parting = [side[given]["role"] for side in sides if len(side) > given]
    if parting != ["assistant", "assistant"]:
        raise InputError("chosen and rejected must part at an assistant message of each")
    tools = {"tools": sample["tools"]} if "tools" in sample else {}
    first, second = (
        demonstrate(renderer, {"messages": side, **tools}, max_model_len, given=given)
        for side in sides
    )
    return first, second


def _messages(given: Any, role: str) -> Any:
    return [{"role": role, "content": given}] if isinstance(given, str) else given


def read_text(
    tokenizer: PreTrainedTokenizerBase, sample: Mapping[str, Any], key: str, max_model_len: int
) -> Trajectory:
    """The sample's text under `key`, of which every token but the first carries a loss.

    Raises InputError if it has none, or one of fewer than two or more than `max_model_len` tokens.
    """
    text = sample.get(key)
    if not isinstance(text, str):
        raise InputError(
            f"it has no text in its field {key!r}; buffer.explorer_input.taskset.fields.text names "
            "another"
        )
    ids = list(tokenizer.encode(text))
    if not 1 < len(ids) <= max_model_len:
        raise InputError(
            f"its text has {len(ids)} tokens; there must be at least 2 and at most max_model_len "
            f"({max_model_len})"
        )
    rest = Sampled([0.0] * (len(ids) - 1), [False] * (len(ids) - 1), model="", version=0)
    return Trajectory([Segment(None, ids[:1]), Segment(0, ids[1:], rest)])


def _conversation(sample: Mapping[str, Any]) -> Conversation:
    sample = _without_none(sample)
    if "response" in sample:
        sample = {"messages": _answered(sample), "tools": sample.get("tools")}
    try:
        return Conversation.model_validate(sample)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        problem = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}: {problem[:1].lower()}{problem[1:]}") from None


def _answered(sample: Mapping[str, Any]) -> list[Any]:
    if "messages" in sample:
        raise InputError(
            "it has both messages and a response: say which is not to be read (fields.messages or "
            'fields.response: "")'
        )
    sides = [_messages(sample.get("prompt"), "user"), _messages(sample["response"], "assistant")]
    if not all(isinstance(side, list) for side in sides):
        raise InputError("a response needs a prompt: lists of messages, or text")
    return [message for side in sides for message in side]


def _without_none(value: Any) -> Any:
    """The value without the fields that `datasets` adds because other samples have them."""
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value
