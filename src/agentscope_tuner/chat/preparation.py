"""From a request to what the sampler is asked: its prompt, its grammar, its parameters.

What takes time (rendering and tokenising long conversations, checking a grammar) runs beside the
event loop.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from agentscope_tuner.chat.constraints import grammar_for
from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.limits import (
    MAX_TEMPLATE_ARGUMENTS,
    check_length,
    check_size,
    text_length,
)
from agentscope_tuner.chat.messages import ChatMessage, canonical
from agentscope_tuner.chat.plan import Draft, Plan, Settings
from agentscope_tuner.chat.rendering import ChatRenderer
from agentscope_tuner.chat.request import ChatRequest
from agentscope_tuner.chat.served import ServedModel
from agentscope_tuner.chat.session import Session
from agentscope_tuner.chat.unrendered import UnrenderedPrompt
from agentscope_tuner.chat.work import off_loop
from agentscope_tuner.inference.base import SamplingParams

SHORT = 16 * 2**10
"""Characters of a conversation that is rendered at once: that takes less than its way to a thread
and back would, and requests keep their order."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that was found good."""

    number: int
    """Which of its rollout's calls it is, from 0."""
    request: ChatRequest
    model: ServedModel
    renderer: ChatRenderer
    plan: Plan
    params: list[SamplingParams]
    """One for each answer."""

    @property
    def reads_tools(self) -> bool:
        """Whether tool calls are read from the answers."""
        return self.plan.tools is not None and self.request.tool_choice != "none"


async def prepare(session: Session, request: ChatRequest) -> Prepared:
    """Plan a request's prompt; the turn that it extends is taken until the plan is given up.

    Raises RequestError for what the model does not serve, and for a prompt that is too long.
    """
    model = session.model_named(request.model)
    number = session.count_call()
    messages = canonical(request.messages)
    tools = [tool.model_dump(exclude_none=True) for tool in request.tools or ()] or None
    kwargs = {**(request.chat_template_kwargs or {}), **_effort(model, request)}
    check_size("chat_template_kwargs", kwargs, MAX_TEMPLATE_ARGUMENTS)
    _check_bias(model, request)
    template = json.dumps(kwargs, sort_keys=True)
    if request.plain_prompt is not None:
        messages, template = _plain(model, request.plain_prompt)
    settings = Settings(json.dumps(tools), template)
    recorded = model is session.policy
    draft = (
        session.recorder.draft(messages, tools, settings)
        if recorded
        else Draft(messages, tools, settings)
    )
    short = not request.asks_for_form and text_length([messages, tools]) <= SHORT
    try:
        renderer, prompt_ids, grammar = (
            _write(model, request, draft, kwargs)
            if short
            else await off_loop(_write, model, request, draft, kwargs)
        )
    except BaseException as error:
        draft.give_up()
        too_long = isinstance(error, RequestError) and error.code == "context_length_exceeded"
        session.trajectory.overflows += recorded and too_long
        raise
    room = model.sampler.max_model_len - len(prompt_ids)
    params = [
        _sampling_params(session, number, request, model, renderer, grammar, room, index)
        for index in range(request.n or 1)
    ]
    return Prepared(number, request, model, renderer, draft.plan(prompt_ids), params)


def _write(
    model: ServedModel, request: ChatRequest, draft: Draft, kwargs: Mapping[str, Any]
) -> tuple[ChatRenderer, list[int], str | None]:
    """The renderer, the prompt and the grammar of a request."""
    renderer = _renderer(model, request, kwargs)
    _check_tools(renderer, draft)
    check_length(draft.messages, draft.tools, model.tokenizer, model.sampler.max_model_len)
    key = json.dumps([draft.settings.tools, draft.settings.template, draft.messages])
    cached = model.prompts.get(key) if draft.turn is None else None
    prompt_ids = draft.write(renderer) if cached is None else cached.tolist()
    _check_room(model, len(prompt_ids))
    if draft.turn is None:
        model.prompts.put(key, array("i", prompt_ids))
    grammar = grammar_for(
        request,
        model.tokenizer,
        hermes_calls=renderer.hermes_calls,
        thinking=renderer.thinking(prompt_ids),
    )
    return renderer, prompt_ids, grammar


def _renderer(model: ServedModel, request: ChatRequest, kwargs: Mapping[str, Any]) -> ChatRenderer:
    plain, renderer = request.plain_prompt, model.renderer
    if plain is None:
        return renderer.variant(kwargs)
    ids = plain if isinstance(plain, list) else None
    return UnrenderedPrompt(model.tokenizer, renderer.stop_token_ids, ids)


def _plain(model: ServedModel, prompt: str | list[int]) -> tuple[list[ChatMessage], str]:
    """A plain prompt as one message, and what tells it from a rendered one."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}], "plain text"
    known = len(model.tokenizer)
    if max(prompt) >= known:
        raise RequestError(
            f"prompt has the token {max(prompt)}; the model has {known}.", param="prompt"
        )
    text = str(model.tokenizer.decode(prompt, skip_special_tokens=False))
    return [{"role": "user", "content": text}], f"tokens {prompt}"


def _effort(model: ServedModel, request: ChatRequest) -> dict[str, Any]:
    """`reasoning_effort` as the chat template takes it; RequestError if it takes none."""
    effort = request.reasoning_effort
    choices: list[dict[str, Any]] = [] if effort is None else [{"reasoning_effort": effort}]
    if effort == "none":
        choices.append({"enable_thinking": False})
    for kwargs in choices:
        try:
            model.renderer.variant(kwargs)
        except RequestError:
            continue
        return kwargs
    if effort is None:
        return {}
    raise RequestError(
        f"reasoning_effort {effort!r} has no effect on this model's chat template.",
        param="reasoning_effort",
    )


def _check_bias(model: ServedModel, request: ChatRequest) -> None:
    """RequestError if `logit_bias` names tokens that the model does not have."""
    for token in request.logit_bias or ():
        if not 0 <= token < len(model.tokenizer):
            raise RequestError(
                f"logit_bias names the token {token}; the model has {len(model.tokenizer)}.",
                param="logit_bias",
            )


def _check_tools(renderer: ChatRenderer, draft: Draft) -> None:
    asks = draft.tools or any(
        message["role"] == "tool" or "tool_calls" in message for message in draft.messages
    )
    refusal = renderer.refuse_tools() if asks else None
    if refusal is not None:
        raise RequestError(f"Tools cannot be served: {refusal}.", param="tools")


def _check_room(model: ServedModel, length: int) -> None:
    """RequestError if a prompt of so many tokens is too long."""
    context, most = model.sampler.max_model_len, model.max_prompt_tokens
    if length >= context:
        limit = f"context length is {context}"
    elif most is not None and length > most:
        limit = f"prompt length is {most}"
    else:
        return
    raise RequestError(
        f"This model's maximum {limit} tokens, but the messages take {length} tokens.",
        param="messages",
        code="context_length_exceeded",
    )


def _sampling_params(
    session: Session,
    number: int,
    request: ChatRequest,
    model: ServedModel,
    renderer: ChatRenderer,
    grammar: str | None,
    room: int,
    index: int,
) -> SamplingParams:
    defaults = session.defaults_of(model)
    temperature = request.temperature
    return SamplingParams(
        max_tokens=min(request.requested_tokens or defaults.max_tokens, room),
        temperature=defaults.temperature if temperature is None else temperature,
        top_p=request.top_p or defaults.top_p,
        top_k=max(0, defaults.top_k if request.top_k is None else request.top_k),
        min_p=request.min_p or 0.0,
        penalties=request.penalties,
        stop_token_ids=renderer.stop_token_ids,
        stop=request.stop_strings,
        seed=_seed(session, request, number, index),
        grammar=grammar,
        top_logprobs=(request.top_logprobs or 0) if request.logprobs else 0,
    )


def _seed(session: Session, request: ChatRequest, number: int, index: int) -> int | None:
    """The request's own seed, or the rollout's with the number of the call."""
    if request.seed is not None:
        return digest("request", request.seed, index)
    if session.seed is not None:
        return digest("rollout", session.seed, number, index)
    return None


def digest(*parts: Any) -> int:
    """63 bits that depend on nothing but `parts`."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest()) >> 1
