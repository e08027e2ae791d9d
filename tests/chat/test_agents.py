"""AgentScope's own agents on the endpoint."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg, TextBlock
from agentscope.tool import Toolkit, ToolResponse
from chat_parts import ADD, saying, serve
from pydantic import BaseModel, Field
from test_trajectories import assert_faithful
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from agentscope_tuner.chat.served import serve_model
from agentscope_tuner.chat.service import ChatService
from agentscope_tuner.chat.session import Session
from agentscope_tuner.errors import InputError
from agentscope_tuner.inference.torch_sampler import TorchSampler


def add(a: int, b: int) -> ToolResponse:
    """Add two integers.

    Args:
        a (int): the first
        b (int): the second
    """
    return ToolResponse(content=[TextBlock(type="text", text=str(a + b))])


def agent(model: Any, **options: Any) -> ReActAgent:
    toolkit = Toolkit()
    toolkit.register_tool_function(add)
    return ReActAgent(
        name="Friday",
        sys_prompt="You add.",
        model=model,
        formatter=OpenAIChatFormatter(),
        toolkit=toolkit,
        **options,
    )


def call(**arguments: int) -> str:
    fields = ", ".join(f'"{name}":  {value}' for name, value in arguments.items())
    return f'<tool_call>\n{{"name":"add", "arguments":{{{fields}}}}}\n</tool_call>'


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["smol", "qwen"])
async def test_a_tool_using_agent_makes_one_branch(
    model: str, stream: bool, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(model)
    sampler = saying(tokenizer, ["First. " + call(b=2, a=1), call(a=3, b=3), "It is 6."])
    session = serve(tokenizer, sampler).open("r1")
    session.model.stream = stream
    reply = await agent(session.model)(Msg("user", "1 + 2 + 3?", "user"))

    assert reply.get_text_content() == "It is 6."
    trajectory = session.trajectory
    assert [one.branch for one in trajectory.calls] == [None, None, None]
    assert [one.finish_reason for one in trajectory.calls] == ["tool_calls", "tool_calls", "stop"]
    results = [one["content"] for one in trajectory.calls[2].messages if one["role"] == "tool"]
    assert results == ["3", "6"]
    assert_faithful(trajectory, sampler.said)


async def test_the_summary_after_the_last_iteration_is_a_branch_without_tools(
    smol: PreTrainedTokenizerBase,
) -> None:
    sampler = saying(smol, [call(a=1, b=2), "I ran out of turns."])
    session = serve(smol, sampler).open("r1")
    await agent(session.model, max_iters=1)(Msg("user", "1 + 2?", "user"))
    assert [one.branch for one in session.trajectory.calls] == [None, "tools_changed"]
    assert "<tools>" not in smol.decode(sampler.said[1][0])


class Sum(BaseModel):
    """An answer of a form."""

    value: int = Field(ge=0, le=99)


async def test_structured_output_comes_through_a_forced_tool(smol: PreTrainedTokenizerBase) -> None:
    answer = '<tool_call>\n{"name": "generate_response", "arguments": {"value": 3}}\n</tool_call>'
    sampler = saying(smol, [answer, "Three."])
    session = serve(smol, sampler).open("r1")
    reply = await agent(session.model)(Msg("user", "1 + 2?", "user"), structured_model=Sum)
    assert reply.metadata == {"value": 3}
    assert sampler.asked[0][1].grammar is not None
    assert_faithful(session.trajectory, sampler.said)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_model_itself_gives_structured_output(
    stream: bool, smol: PreTrainedTokenizerBase
) -> None:
    session = serve(smol, saying(smol, ['{"value": 3}'])).open("r1")
    session.model.stream = stream
    answer = await session.model([{"role": "user", "content": "?"}], structured_model=Sum)
    if stream:
        answer = [chunk async for chunk in answer][-1]
    assert answer.metadata == {"value": 3}


async def test_a_truncated_tool_call_is_not_executed(smol: PreTrainedTokenizerBase) -> None:
    sampler = saying(smol, [call(a=1, b=2)])
    session = serve(smol, sampler, max_tokens=12).open("r1")
    reply = await agent(session.model)(Msg("user", "1 + 2?", "user"))
    assert reply.get_text_content().startswith("<tool_call>")
    (only,) = session.trajectory.calls
    assert only.finish_reason == "length"
    assert "tool_calls" not in only.response


async def test_agents_that_share_a_model_stay_apart(smol: PreTrainedTokenizerBase) -> None:
    """The same agent in parallel, interleaved turn by turn."""
    sampler = saying(smol, [call(a=n, b=n) for n in range(8)] + ["done"] * 8, delay=lambda: 0.001)
    session = serve(smol, sampler).open("r1")
    await asyncio.gather(
        *(agent(session.model)(Msg("user", f"number {n}", "user")) for n in range(8))
    )
    trajectory = session.trajectory
    assert len(trajectory.leaves()) == 8
    for leaf in trajectory.leaves():
        walk = smol.decode(trajectory.token_ids(leaf))
        number = walk.partition("number ")[2][0]
        assert f'"a":  {number}, "b":  {number}' in walk
        assert walk.count("<tool_response>\n") == 1
        assert f"<tool_response>\n{2 * int(number)}\n" in walk
    assert_faithful(trajectory, sampler.said)


async def test_an_agent_in_a_thread_with_its_own_loop_is_served_on_ours(
    smol: PreTrainedTokenizerBase,
) -> None:
    loops: list[Any] = []
    sampler = saying(smol, [call(a=1, b=2), "3"], delay=lambda: loops.append(running()) or 0.0)

    def running() -> Any:
        return asyncio.get_running_loop()

    session = serve(smol, sampler).open("r1")

    def work() -> str:
        reply = asyncio.run(agent(session.model)(Msg("user", "1 + 2?", "user")))
        return reply.get_text_content()

    assert await asyncio.to_thread(work) == "3"
    assert loops == [running()] * 2
    assert threading.active_count() < 50


async def test_a_closed_session_refuses_late_calls_and_records_nothing(
    smol: PreTrainedTokenizerBase,
) -> None:
    sampler = saying(smol, ["one", "two", "three"], delay=lambda: 0.02)
    service = serve(smol, sampler)
    session = service.open("r1")
    question = [{"role": "user", "content": "?"}]
    await session.model(question)
    pending = asyncio.create_task(session.model(question))
    await asyncio.sleep(0.01)
    session.close()
    session.close()
    with pytest.raises(openai.NotFoundError, match="not open"):
        await pending
    with pytest.raises(openai.NotFoundError, match="not open"):
        await session.model(question)
    assert sampler.cancelled == 1
    assert len(session.trajectory.calls) == 1
    assert session.fault is None
    service.open("r1")  # a retry may use the name again


async def test_auxiliary_models_answer_and_are_kept_apart_from_the_tokens(
    smol: PreTrainedTokenizerBase,
) -> None:
    judge = serve_model("judge", saying(smol, ["good"]), smol, model_type="llama", max_tokens=9)
    policy = serve(smol, saying(smol, ["an answer"])).policy
    service = ChatService(policy, {"judge": judge})
    session = service.open("r1")
    answer = await session.auxiliary_models["judge"]([{"role": "user", "content": "How is it?"}])
    assert answer.content[0]["text"] == "good"
    assert judge.sampler.asked[0][1].max_tokens == 9
    assert session.trajectory.segments == []
    (kept,) = session.auxiliary_calls
    assert kept.model == "judge"
    assert kept.messages == [{"role": "user", "content": "How is it?"}]
    assert kept.response["content"] == "good"
    with pytest.raises(InputError, match="policy"):
        ChatService(policy, {"policy": judge})


@pytest.fixture
async def smol_sampler(
    smol_directory: Path, smol: PreTrainedTokenizerBase
) -> AsyncIterator[TorchSampler]:
    """The real SmolLM2."""
    model = AutoModelForCausalLM.from_pretrained(smol_directory, dtype="float32")
    sampler = TorchSampler(
        model.config, model.state_dict(), smol, max_model_len=1024, cache_bytes=1 << 27
    )
    yield sampler
    await sampler.close()


async def test_the_real_small_model_is_an_agent(
    smol_sampler: TorchSampler, smol: PreTrainedTokenizerBase
) -> None:
    session: Session = serve(smol, smol_sampler, max_tokens=24).open("r1", seed=4)
    session.model.stream = True
    reply = await agent(session.model)(Msg("user", "What is 1 + 2?", "user"))
    assert reply.get_text_content()
    forced = await session.model(
        [{"role": "user", "content": "What is 1 + 2?"}], tools=[ADD], tool_choice="add"
    )
    blocks = [block async for chunk in forced for block in chunk.content]
    assert session.fault is None
    if session.trajectory.calls[-1].finish_reason == "tool_calls":
        assert blocks[-1]["name"] == "add"
        assert {"a", "b"} == set(blocks[-1]["input"])
