"""Agents of AgentScope 2.x on the endpoint."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agentscope.agent import Agent, InjectionConfig, ReActConfig
from agentscope.message import UserMsg
from agentscope.permission import PermissionContext, PermissionMode
from agentscope.state import AgentState
from agentscope.tool import FunctionTool, Toolkit
from chat_parts import saying, serve
from pydantic import BaseModel, Field
from test_trajectories import assert_faithful
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.chat_model import ask, name_of
from agentscope_tuner.rollout.runner import RolloutRunner
from agentscope_tuner.workflow import WorkflowOutput

ALLOWED = PermissionContext(mode=PermissionMode.BYPASS)


def add(a: int, b: int) -> str:
    """Add two integers.

    Args:
        a (int): the first
        b (int): the second
    """
    return str(a + b)


def agent(model: Any, permissions: PermissionContext = ALLOWED, **options: Any) -> Agent:
    options.setdefault("injection_config", InjectionConfig(inject_runtime_state=False))
    return Agent(
        name="Friday",
        system_prompt="You add.",
        model=model,
        toolkit=Toolkit(tools=[FunctionTool(add)]),
        state=AgentState(permission_context=permissions),
        **options,
    )


def call(tool: str = "add", **arguments: Any) -> str:
    fields = ", ".join(f'"{name}":  {value}' for name, value in arguments.items())
    return f'<tool_call>\n{{"name":"{tool}", "arguments":{{{fields}}}}}\n</tool_call>'


def asked(text: str) -> UserMsg:
    return UserMsg(name="user", content=text)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_using_agent_makes_one_branch(
    stream: bool, smol: PreTrainedTokenizerBase
) -> None:
    sampler = saying(smol, ["First. " + call(b=2, a=1), call(a=3, b=3), "It is 6."])
    session = serve(smol, sampler).open("r1")
    session.model.stream = stream
    reply = await agent(session.model).reply(asked("1 + 2 + 3?"))
    assert reply.get_text_content() == "It is 6."
    trajectory = session.trajectory
    assert [one.branch for one in trajectory.calls] == [None, None, None]
    results = [one["content"] for one in trajectory.calls[2].messages if one["role"] == "tool"]
    assert results == ["3", "6"]
    assert_faithful(trajectory, sampler.said)


async def test_a_tool_without_permission_parks_the_reply(smol: PreTrainedTokenizerBase) -> None:
    # The trap that docs/agentscope2.md names: nothing is added, and nobody is asked.
    session = serve(smol, saying(smol, [call(a=1, b=2), "3"])).open("r1")
    reply = await agent(session.model, PermissionContext()).reply(asked("1 + 2?"))
    assert "permission" in (reply.get_text_content() or "")
    assert len(session.trajectory.calls) == 1


class Sum(BaseModel):
    """An answer of a form."""

    value: int = Field(ge=0, le=99)


async def test_structured_output_comes_through_its_tool(smol: PreTrainedTokenizerBase) -> None:
    sampler = saying(smol, [call("GenerateStructuredOutput", value=3), "Three."])
    session = serve(smol, sampler).open("r1")
    reply = await agent(session.model).reply(asked("1 + 2?"), structured_schema=Sum)
    assert reply.structured_output == {"value": 3}
    assert_faithful(session.trajectory, sampler.said)


async def test_the_time_of_day_is_in_a_prompt_unless_it_is_turned_off(
    smol: PreTrainedTokenizerBase,
) -> None:
    prompts = []
    for options in ({}, {"injection_config": InjectionConfig()}):
        sampler = saying(smol, ["3"])
        session = serve(smol, sampler).open("r1")
        await agent(session.model, **options).reply(asked("1 + 2?"))
        prompts.append(smol.decode(sampler.said[0][0]))
    assert "current" not in prompts[0].lower()
    assert "current" in prompts[1].lower()


async def test_a_deadline_ends_an_agent_that_swallows_its_cancellation(
    smol: PreTrainedTokenizerBase,
) -> None:
    service = serve(smol, saying(smol, [call(a=1, b=1)] * 99, delay=lambda: 0.05))

    async def workflow(task: dict[str, Any], model: Any) -> WorkflowOutput:
        react = ReActConfig(max_iters=90)
        return WorkflowOutput(
            response=await agent(model, react_config=react).reply(asked("1 + 1?")), reward=1.0
        )

    runner = RolloutRunner(service, workflow, timeout_s=0.3, max_retries=0)
    (group,) = await asyncio.wait_for(runner.run_groups([{}], 1, label="s", seed=0), 20)
    (rollout,) = group.rollouts
    assert rollout.error is not None
    assert rollout.error.kind == "timeout"


async def test_a_failed_call_is_not_sampled_again(smol: PreTrainedTokenizerBase) -> None:
    session = serve(smol, saying(smol, ["3"])).open("r1")
    assert session.model.max_retries == 0
    assert session.model.client.max_retries == 0
    # Where an agent compresses its memory: the length of the model that is served.
    assert session.model.context_size == 4096


async def test_the_model_has_the_attributes_that_other_libraries_take(
    smol: PreTrainedTokenizerBase,
) -> None:
    session = serve(smol, saying(smol, ["three"])).open("r1")
    assert name_of(session.model) == session.model.model_name == "policy"
    assert await ask(session.model, "1 + 2?", max_tokens=8) == "three"
    session.model.stream = True
    session = serve(smol, saying(smol, ["three"])).open("r1")
    session.model.stream = True
    assert await ask(session.model, "1 + 2?", max_tokens=8) == "three"
