"""Streams through the in-process transport: they arrive while they are sampled, and may be left."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from chat_parts import ScriptedSampler, serve
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat.session import Session
from agentscope_tuner.inference.base import Completion

USER = {"role": "user", "content": "Hi."}
WORDS = ["one", " two", " three", " four", " five", " six"]


class Metronome(ScriptedSampler):
    """Samples a word whenever it is told to go on, as far as anybody wants to hear it."""

    async def sample(
        self, prompt_ids: Any, params: Any, on_token: Any = None, abandoned: Any = None
    ) -> Completion:
        ids = self.say(prompt_ids, params)
        sampled: list[int] = []
        for token in ids:
            await asyncio.sleep(0)
            sampled.append(token)
            on_token(token)
            while self.go_on.locked() and not abandoned():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            if abandoned():
                break
            await self.go_on.acquire()
        self.ended.set()
        logprobs = [-0.125] * len(sampled)
        finish = "stop" if len(sampled) == len(ids) else "abandoned"
        return Completion(sampled, logprobs, [False] * len(sampled), {}, finish, 7)


@pytest.fixture
def metronome(smol: PreTrainedTokenizerBase) -> Metronome:
    words = [smol.encode(word)[0] for word in WORDS]
    sampler = Metronome(lambda *_: [*words, smol.eos_token_id])
    sampler.go_on, sampler.ended = asyncio.Semaphore(1), asyncio.Event()
    return sampler


async def read(session: Session, metronome: Metronome, words: int) -> str:
    """Stream an answer and leave after some of its words."""
    text = ""
    stream = await session.model.client.chat.completions.create(
        model="policy", messages=[USER], stream=True
    )
    async with stream:
        async for chunk in stream:
            text += (chunk.choices and chunk.choices[0].delta.content) or ""
            metronome.go_on.release()
            if len(text.split()) == words:
                break
    return text


async def test_a_piece_arrives_before_the_next_token_is_sampled(
    smol: PreTrainedTokenizerBase, metronome: Metronome
) -> None:
    """The sampler waits for the reader: a stream that comes at once would never come."""
    session = serve(smol, metronome).open("r1")
    text = await asyncio.wait_for(read(session, metronome, 99), 10)
    assert text == "one two three four five six"
    [call] = session.trajectory.calls
    assert call.finish_reason == "stop"


async def test_so_it_does_in_a_thread_with_an_event_loop_of_its_own(
    smol: PreTrainedTokenizerBase,
) -> None:
    words = [smol.encode(word)[0] for word in WORDS]

    class Slow(ScriptedSampler):
        async def sample(
            self, prompt_ids: Any, params: Any, on_token: Any = None, abandoned: Any = None
        ) -> Completion:
            on_token(words[0])
            on_token(words[1])
            await seen.wait()
            return await super().sample(prompt_ids, params)

    seen, loop = asyncio.Event(), asyncio.get_running_loop()
    session = serve(smol, Slow(lambda *_: [*words[:2], smol.eos_token_id])).open("r1")

    async def talk() -> str:
        text = ""
        async for chunk in await session.model.client.chat.completions.create(
            model="policy", messages=[USER], stream=True
        ):
            if piece := chunk.choices and chunk.choices[0].delta.content:
                text += piece
                loop.call_soon_threadsafe(seen.set)
        return text

    assert await asyncio.wait_for(asyncio.to_thread(asyncio.run, talk()), 20) == "one two"


async def test_an_abandoned_stream_is_recorded_as_far_as_it_was_read(
    smol: PreTrainedTokenizerBase, metronome: Metronome, caplog: Any
) -> None:
    session = serve(smol, metronome).open("r1")
    text = await asyncio.wait_for(read(session, metronome, 2), 10)
    assert text == "one two"
    assert metronome.ended.is_set()
    [call] = session.trajectory.calls
    assert call.finish_reason == "abandoned"
    assert call.response == {"role": "assistant", "content": "one two"}
    segment = session.trajectory.segments[call.segment]
    assert smol.decode(segment.token_ids) == "one two"
    assert segment.sampled is not None
    assert len(segment.sampled.logprobs) == len(segment.token_ids)
    assert session.fault is None
    assert caplog.text == ""


async def test_a_stream_that_nobody_began_to_read_leaves_nothing(
    smol: PreTrainedTokenizerBase, metronome: Metronome, caplog: Any
) -> None:
    session = serve(smol, metronome).open("r1")
    stream = await session.model.client.chat.completions.create(
        model="policy", messages=[USER], stream=True
    )
    await stream.close()
    assert session.trajectory.segments == []
    assert (session.fault, caplog.text) == (None, "")


async def test_a_stream_whose_rollout_ends_is_an_error_and_no_stray_exception(
    smol: PreTrainedTokenizerBase, metronome: Metronome, caplog: Any
) -> None:
    session = serve(smol, metronome).open("r1")
    stream = await session.model.client.chat.completions.create(
        model="policy", messages=[USER], stream=True
    )

    async def read_on() -> None:
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                session.close()

    with pytest.raises(openai.APIError, match="not open"):
        await asyncio.wait_for(read_on(), 10)
    assert session.trajectory.segments == []
    assert caplog.text == ""
