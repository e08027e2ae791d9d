"""Grammars for answers of a given form: forced tool calls and structured output.

They are written for llguidance, which the sampler runs beside the model: it masks every token that
would leave the grammar. JSON is written as Python's `json.dumps` writes it, with one space after
commas and colons, so that a weak model cannot lose itself in white space.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat import hermes
from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.limits import MAX_SCHEMA, check_size
from agentscope_tuner.chat.parsing import THINK_CLOSE, THINK_OPEN, Thinking
from agentscope_tuner.chat.request import ChatRequest, Function, NamedToolChoice, Tool
from agentscope_tuner.inference.grammar import parser_limits

_JSON_STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_ANY_TEXT = r"/(.|\n)*/"


def grammar_for(
    request: ChatRequest,
    tokenizer: PreTrainedTokenizerBase,
    *,
    hermes_calls: bool,
    thinking: Thinking,
) -> str | None:
    """The grammar that the request asks for; None if its answer is free.

    Args:
        request: what is asked.
        tokenizer: the model's; a tag that is one token of its own is that token in the grammar.
        hermes_calls: whether the model writes and the endpoint reads Hermes tool calls.
        thinking: whether thinking may come first, or has begun.

    Raises:
        RequestError: an unknown tool, a schema that cannot be followed, or a forced call of a model
            whose form of calls is not Hermes.
    """
    calls = _forced_tools(request)
    schema = _schema(request)
    if calls is None and schema is None:
        return None
    if schema is not None:
        check_size("response_format", schema, MAX_SCHEMA)
    rules: list[str] = []
    answers: list[str] = []
    if calls is None and request.tools and request.tool_choice != "none" and hermes_calls:
        calls = request.tools  # the model may answer in the schema or call a tool
    if calls is not None:
        check_size("tools", [tool.function.parameters for tool in calls], MAX_SCHEMA)
        if not hermes_calls:
            raise RequestError(
                "A tool call can be forced only for models that write and read calls in the Hermes "
                "form (tool_call_parser='hermes').",
                param="tool_choice",
            )
        single = isinstance(request.tool_choice, NamedToolChoice) or (
            request.parallel_tool_calls is False
        )
        answers.append("calls")
        rules += _call_rules(tokenizer, [tool.function for tool in calls], single)
    if schema is not None and (calls is None or _forced_tools(request) is None):
        answers.append("json")
        rules.append(_json_rule("json", schema))
    think, opener = _thinking_rule(tokenizer, thinking)
    start = f"start: {opener}({' | '.join(answers)})"
    grammar = "\n".join([start, *think, *rules])
    problem = _problem(grammar)
    if problem:
        param = "response_format" if schema is not None else "tools"
        raise RequestError(f"The {param} cannot be followed: {problem}.", param=param)
    return grammar


def _forced_tools(request: ChatRequest) -> Sequence[Tool] | None:
    choice, tools = request.tool_choice, request.tools or []
    if isinstance(choice, NamedToolChoice):
        named = [tool for tool in tools if tool.function.name == choice.function.name]
        if not named:
            raise RequestError(
                f"tool_choice names {choice.function.name!r}, which is not among the tools.",
                param="tool_choice",
            )
        return named[:1]
    if choice == "required":
        if not tools:
            raise RequestError("tool_choice 'required' needs tools.", param="tool_choice")
        return tools
    return None


def _schema(request: ChatRequest) -> dict[str, Any] | None:
    form = request.response_format
    if form is None or form.type == "text":
        return None
    return form.json_schema.schema_ if form.json_schema else {"type": "object"}


def _call_rules(
    tokenizer: PreTrainedTokenizerBase, functions: Sequence[Function], single: bool
) -> list[str]:
    rules = ["calls: call" if single else 'calls: call ("\\n" call)*']
    rules.append("call: " + " | ".join(f"call_{at}" for at in range(len(functions))))
    opening, closing = _tag(tokenizer, hermes.OPEN), _tag(tokenizer, hermes.CLOSE)
    for at, function in enumerate(functions):
        head = f'\n{{"name": {json.dumps(function.name)}, "arguments": '
        rules.append(f'call_{at}: {opening} {_literal(head)} arguments_{at} "}}\\n" {closing}')
        rules.append(_json_rule(f"arguments_{at}", function.parameters or {"type": "object"}))
    return rules


def _json_rule(name: str, schema: dict[str, Any]) -> str:
    return f"{name}: %json {json.dumps({**schema, 'x-guidance': _JSON_STYLE})}"


def _thinking_rule(tokenizer: PreTrainedTokenizerBase, thinking: Thinking) -> tuple[list[str], str]:
    """Rules, and what stands before the answer."""
    opening, closing = _tag(tokenizer, THINK_OPEN), _tag(tokenizer, THINK_CLOSE)
    if thinking == "open":
        return [f'think: {_ANY_TEXT} {closing} "\\n\\n"'], "think "
    # Where the tags are plain text, free thinking and the answer cannot be told apart.
    if thinking == "possible" and closing.startswith("<["):
        return [f'think: {opening} {_ANY_TEXT} {closing} "\\n\\n"'], "think? "
    return [], ""


def _tag(tokenizer: PreTrainedTokenizerBase, tag: str) -> str:
    """The tag as llguidance matches it: added tokens are no text to it."""
    ids = tokenizer.encode(tag, add_special_tokens=False)
    if len(ids) == 1 and ids[0] in tokenizer.added_tokens_decoder:
        return f"<[{ids[0]}]>"
    return _literal(tag)


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@lru_cache(maxsize=64)  # of grammars, whose length is limited
def _problem(grammar: str) -> str:
    """What llguidance cannot follow; empty if nothing."""
    message = LLMatcher.validate_grammar(grammar, limits=parser_limits())
    return str(message).partition("\n")[0] if message else ""
