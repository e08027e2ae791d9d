"""Answers to a request: sampled, read, recorded."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agentscope_tuner.chat.errors import RequestError
from agentscope_tuner.chat.messages import ChatMessage
from agentscope_tuner.chat.parsing import ParsedMessage
from agentscope_tuner.chat.preparation import Prepared, digest
from agentscope_tuner.chat.session import Session, not_open
from agentscope_tuner.chat.streaming import DeltaReader
from agentscope_tuner.inference.base import Completion, RefusedSampling
from agentscope_tuner.inference.grammar import GrammarError
from agentscope_tuner.trajectory import AuxiliaryCall, Sampled

OnToken = Callable[[int, int], None]
"""Called with the index of an answer and the token that it sampled next."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Choice:
    """One answer."""

    message: ChatMessage
    finish_reason: str
    completion: Completion


class Generation:
    """A request on its way to its answers: `sample` them, then `record` them or `give_up`.

    Args:
        session: the rollout that asks.
        prepared: what it asks.
    """

    def __init__(self, session: Session, prepared: Prepared) -> None:
        self.id = f"chatcmpl-{session.rollout_id}-{prepared.number}"
        self.created = int(time.time())
        self.request = prepared.request
        self.model = prepared.model
        self.prompt_ids = prepared.plan.prompt_ids
        self._session = session
        self._prepared = prepared
        self._abandoned = threading.Event()
        self._began = time.time()

    async def sample(self, on_token: OnToken | None = None) -> list[Choice]:
        """Sample the answers.

        Raises RequestError if the rollout ends meanwhile, if the sampler does not serve what is
        asked, or if a grammar turns out to be one that cannot be followed.
        """
        try:
            completions = await self._session.while_open(
                [self._sample(index, on_token) for index in range(len(self._prepared.params))]
            )
        except GrammarError as error:
            raise RequestError(f"The form of the answer cannot be followed: {error}.") from error
        except RefusedSampling as error:
            raise RequestError(str(error)) from error
        return [self._choice(index, one) for index, one in enumerate(completions)]

    def abandon(self) -> None:
        """End the answers with the tokens that they have: `sample` soon returns them."""
        self._abandoned.set()

    def record(self, choices: Sequence[Choice]) -> None:
        """Record the answers. RequestError if the rollout has ended meanwhile."""
        if self._session.closed:
            raise not_open(self._session.rollout_id)
        seconds = round(time.time() - self._began, 4)
        for choice in choices:
            self._record(choice, seconds)

    def give_up(self) -> None:
        """Record nothing: another request may extend the turn that this one would have."""
        self._prepared.plan.give_up()

    def received(self, choices: Sequence[Choice], counts: Sequence[int]) -> list[Choice]:
        """The answers as far as their first tokens; those without a token are left out."""
        return [
            self._choice(index, choice.completion.first(count))
            for index, (choice, count) in enumerate(zip(choices, counts, strict=True))
            if count
        ]

    def reader(self) -> DeltaReader:
        """A reader of one answer's tokens, for streaming."""
        prepared = self._prepared
        return DeltaReader(
            self.model.tokenizer,
            prepared.renderer.stream_rules(self.prompt_ids, tools=prepared.reads_tools),
            prepared.renderer.stop_token_ids,
            self.request.stop_strings,
        )

    def _sample(self, index: int, on_token: OnToken | None) -> asyncio.Task[Completion]:
        sampler, params = self.model.sampler, self._prepared.params[index]
        if on_token is None:
            return asyncio.ensure_future(sampler.sample(self.prompt_ids, params))
        return asyncio.ensure_future(
            sampler.sample(
                self.prompt_ids,
                params,
                lambda token: on_token(index, token),
                self._abandoned.is_set,
            )
        )

    def _choice(self, index: int, completion: Completion) -> Choice:
        parsed = self._parse(completion.token_ids)
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

    def _parse(self, token_ids: list[int]) -> ParsedMessage:
        """What the tokens say; their text as it is if the model's parser fails on them."""
        prepared = self._prepared
        try:
            parsed = prepared.renderer.parse(token_ids, self.prompt_ids, tools=prepared.reads_tools)
        except Exception as error:
            _log.warning("An answer is left as text: the model's parser failed.", exc_info=error)
            ended = token_ids[-1:] and token_ids[-1] in prepared.renderer.stop_token_ids
            ids = token_ids[:-1] if ended else token_ids
            parsed = ParsedMessage(str(self.model.tokenizer.decode(ids, skip_special_tokens=False)))
        parsed.cut_at(self.request.stop_strings)
        return parsed

    def _tool_call_id(self, *position: int) -> str:
        # Some chat templates write ids into the prompt: they must not differ from run to run. Nine
        # letters and digits is the one form that all templates take.
        number = digest("tool call", self._session.rollout_id, self._prepared.number, *position)
        return f"{number:016x}"[-9:]

    def _record(self, choice: Choice, seconds: float) -> None:
        plan, completion = self._prepared.plan, choice.completion
        if self.model is self._session.policy:
            self._session.recorder.record(
                plan,
                completion.token_ids,
                Sampled(
                    logprobs=completion.logprobs,
                    forced=completion.forced,
                    model=self.model.name,
                    version=completion.version,
                    version_changes=completion.version_changes,
                    temperature=self._prepared.params[0].temperature,
                    supports=completion.supports,
                    penalties=self._prepared.params[0].penalties,
                ),
                choice.message,
                finish_reason=choice.finish_reason,
                seconds=seconds,
                began=self._began,
            )
            return
        self._session.keep(
            AuxiliaryCall(
                self.model.name,
                plan.messages,
                list(plan.tools) if plan.tools else None,
                choice.message,
                choice.finish_reason,
                seconds,
                self._began,
            )
        )
