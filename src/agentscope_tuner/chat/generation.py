"""One request on its way from messages to an answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from agentscope_tuner.chat.constraints import grammar_for
from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.messages import ChatMessage, canonical
from agentscope_tuner.chat.recorder import Plan, Settings
from agentscope_tuner.chat.request import ChatRequest
from agentscope_tuner.chat.served import ServedModel
from agentscope_tuner.chat.session import Session
from agentscope_tuner.chat.streaming import DeltaReader
from agentscope_tuner.inference.base import Completion, SamplingParams
from agentscope_tuner.trajectory import AuxiliaryCall, Sampled

OnToken = Callable[[int, int], None]
"""Called with the index of an answer and the token that it sampled next."""


@dataclass(slots=True)
class Choice:
    """One answer."""

    message: ChatMessage
    finish_reason: str
    completion: Completion


class Generation:
    """A request that was found good: its prompt is planned, `run` samples its answers.

    Raises RequestError for what the model does not serve, and for a prompt that is too long.
    """

    def __init__(self, session: Session, model: ServedModel, request: ChatRequest) -> None:
        self.request = request
        self.model = model
        self.number = session.count_call()
        self.id = f"chatcmpl-{session.rollout_id}-{self.number}"
        self.created = int(time.time())
        self._session = session
        self._recorder = session.recorder if model is session.policy else None
        messages = canonical(request.messages)
        tools = [tool.model_dump(exclude_none=True) for tool in request.tools or ()] or None
        kwargs = request.chat_template_kwargs or {}
        self.renderer = model.renderer.variant(kwargs)
        self._check_tools(messages)
        self._reads_tools = tools is not None and request.tool_choice != "none"
        settings = Settings(json.dumps(tools), json.dumps(kwargs, sort_keys=True))
        if self._recorder is None:
            self._plan = Plan(self.renderer.render(messages, tools), messages, tools, settings)
        else:
            self._plan = self._recorder.plan(self.renderer, messages, tools, settings)
        try:
            self._grammar = grammar_for(
                request,
                model.tokenizer,
                hermes_calls=self.renderer.hermes_calls,
                thinking=self.renderer.thinking(self.prompt_ids),
            )
            room = self._room()
            self._params = [self._sampling_params(index, room) for index in range(request.n or 1)]
        except BaseException:
            self._give_up()
            raise

    @property
    def prompt_ids(self) -> list[int]:
        """The prompt's tokens."""
        return self._plan.prompt_ids

    async def run(self, on_token: OnToken | None = None) -> list[Choice]:
        """Sample the answers and record them.

        Raises RequestError if the rollout ends meanwhile; nothing is recorded then.
        """
        began, clock = time.time(), time.perf_counter()
        try:
            completions = await self._session.while_open(
                [self._sample(index, on_token) for index in range(len(self._params))]
            )
            choices = [self._choice(index, one) for index, one in enumerate(completions)]
        except BaseException:
            self._give_up()
            raise
        seconds = round(time.perf_counter() - clock, 4)
        for choice in choices:
            self._record(choice, seconds, began)
        return choices

    def _record(self, choice: Choice, seconds: float, began: float) -> None:
        if self._recorder is not None:
            self._recorder.record(
                self._plan,
                choice.completion.token_ids,
                self._sampled(choice.completion),
                choice.message,
                finish_reason=choice.finish_reason,
                seconds=seconds,
                began=began,
            )
            return
        plan = self._plan
        self._session.auxiliary_calls.append(
            AuxiliaryCall(
                self.model.name,
                plan.messages,
                list(plan.tools) if plan.tools else None,
                choice.message,
                choice.finish_reason,
                seconds,
                began,
            )
        )

    def reader(self) -> DeltaReader:
        """A reader of one answer's tokens, for streaming."""
        return DeltaReader(
            self.model.tokenizer,
            self.renderer.stream_rules(self.prompt_ids, tools=self._reads_tools),
            self.renderer.stop_token_ids,
            self.request.stop_strings,
        )

    def _check_tools(self, messages: list[ChatMessage]) -> None:
        asks = self.request.tools or any(
            message["role"] == "tool" or "tool_calls" in message for message in messages
        )
        refusal = self.renderer.refuse_tools() if asks else None
        if refusal is not None:
            raise RequestError(f"Tools cannot be served: {refusal}.", param="tools")

    def _room(self) -> int:
        """The most tokens that an answer can have; RequestError if the prompt is too long."""
        length, context = len(self.prompt_ids), self.model.sampler.max_model_len
        most = self.model.max_prompt_tokens
        if length >= context:
            limit = f"context length is {context}"
        elif most is not None and length > most:
            limit = f"prompt length is {most}"
        else:
            return context - length
        if self._recorder is not None:
            self._session.trajectory.overflows += 1
        raise RequestError(
            f"This model's maximum {limit} tokens, but the messages take {length} tokens.",
            param="messages",
            code="context_length_exceeded",
        )

    def _sampling_params(self, index: int, room: int) -> SamplingParams:
        request, session, model = self.request, self._session, self.model
        defaults = session.defaults_of(model)
        temperature = request.temperature
        return SamplingParams(
            max_tokens=min(request.requested_tokens or defaults.max_tokens, room),
            temperature=defaults.temperature if temperature is None else temperature,
            top_p=request.top_p or defaults.top_p,
            stop_token_ids=self.renderer.stop_token_ids,
            stop=request.stop_strings,
            seed=self._seed(index),
            grammar=self._grammar,
            top_logprobs=(request.top_logprobs or 0) if request.logprobs else 0,
        )

    def _seed(self, index: int) -> int | None:
        """The request's own seed, or the rollout's with the number of the call."""
        if self.request.seed is not None:
            return _digest("request", self.request.seed, index)
        if self._session.seed is not None:
            return _digest("rollout", self._session.seed, self.number, index)
        return None

    def _sample(self, index: int, on_token: OnToken | None) -> asyncio.Task[Completion]:
        return asyncio.ensure_future(
            self.model.sampler.sample(
                self.prompt_ids,
                self._params[index],
                None if on_token is None else lambda token: on_token(index, token),
            )
        )

    def _choice(self, index: int, completion: Completion) -> Choice:
        parsed = self.renderer.parse(completion.token_ids, self.prompt_ids, tools=self._reads_tools)
        parsed.cut_at(self.request.stop_strings)
        message: ChatMessage = {"role": "assistant", "content": parsed.content}
        if parsed.reasoning:
            message["reasoning_content"] = parsed.reasoning
        if parsed.tool_calls:
            message["tool_calls"] = [
                {
                    "id": self._tool_call_id(index, at),
                    "type": "function",
                    "function": {"name": name, "arguments": arguments},
                }
                for at, (name, arguments) in enumerate(parsed.tool_calls)
            ]
        finish_reason: str = completion.finish_reason
        if parsed.tool_calls and finish_reason == "stop":
            finish_reason = "tool_calls"
        return Choice(message, finish_reason, completion)

    def _tool_call_id(self, *position: int) -> str:
        # Some chat templates write ids into the prompt: they must not differ from run to run. Nine
        # letters and digits is the one form that all templates take.
        number = _digest("tool call", self._session.rollout_id, self.number, *position)
        return f"{number:016x}"[-9:]

    def _sampled(self, completion: Completion) -> Sampled:
        return Sampled(
            logprobs=completion.logprobs,
            forced=completion.forced,
            model=self.model.name,
            version=completion.version,
            temperature=self._params[0].temperature,
            supports=completion.supports,
            version_changes=completion.version_changes,
        )

    def _give_up(self) -> None:
        if self._recorder is not None:
            self._recorder.give_up(self._plan)


def _digest(*parts: Any) -> int:
    """63 bits that depend on nothing but `parts`."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest()) >> 1
