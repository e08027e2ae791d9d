"""Agents of the OpenAI Agents SDK, driven by the model's URL."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from typing import Any, Literal

import pytest
from agentscope.model import ChatModelBase
from framework_rollouts import RollOut, assert_one_conversation
from openai import AsyncOpenAI
from pydantic import BaseModel

from agentscope_tuner import WorkflowOutput

agents = pytest.importorskip("agents", reason="needs `make test-frameworks` (openai-agents)")
EXAMPLE = Path(__file__).parents[2] / "examples" / "openai_agents" / "main.py"


@pytest.fixture(autouse=True)
def _no_traces() -> None:
    agents.set_tracing_disabled(True)


@agents.function_tool
def look(direction: Literal["left", "right"]) -> str:
    """Look around.

    Args:
        direction: where to look
    """
    return f"Nothing on the {direction}."


def agent(client: AsyncOpenAI, model: ChatModelBase, **options: Any) -> agents.Agent:
    chat = agents.OpenAIChatCompletionsModel(model.model_name, client)
    return agents.Agent(name="Scout", instructions="You look around.", model=chat, **options)


@pytest.mark.parametrize("stream", [False, True])
async def test_two_turns_are_one_branch_of_their_own_rollout(
    roll_out: RollOut, stream: bool
) -> None:
    async def workflow(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
        async with AsyncOpenAI(base_url=model.base_url, api_key=model.api_key) as client:
            scout = agent(client, model)
            messages: list[Any] = []
            for question in (task["question"], "Are you sure?"):
                messages.append({"role": "user", "content": question})
                if stream:
                    result = agents.Runner.run_streamed(scout, messages)
                    async for _ in result.stream_events():
                        pass
                else:
                    result = await agents.Runner.run(scout, messages)
                messages = result.to_input_list()
        return WorkflowOutput(reward=1.0, response=result.final_output)

    for rollout in await roll_out(workflow):
        assert_one_conversation(rollout, calls=2)
        assert rollout.response == rollout.trajectory.calls[-1].response["content"]


async def test_a_tool_is_called_and_its_result_is_read(roll_out: RollOut) -> None:
    async def workflow(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
        async with AsyncOpenAI(base_url=model.base_url, api_key=model.api_key) as client:
            # A model of random weights calls what it has to; after that the SDK lets it go.
            must = agents.ModelSettings(tool_choice="required")
            scout = agent(client, model, tools=[look], model_settings=must)
            await agents.Runner.run(scout, task["question"])
        return WorkflowOutput(reward=1.0)

    for rollout in await roll_out(workflow):
        assert_one_conversation(rollout, calls=2)
        result = rollout.trajectory.calls[1].messages[-1]
        assert result["role"] == "tool"
        assert result["content"] in ("Nothing on the left.", "Nothing on the right.")


class Sight(BaseModel):
    """What a model of random weights cannot help ending; the SDK refuses answers cut off."""

    seen: Literal["nothing", "something"]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_sdks_own_default_the_responses_api_is_served(
    roll_out: RollOut, stream: bool
) -> None:
    async def run(scout: agents.Agent, messages: Any) -> Any:
        if not stream:
            return await agents.Runner.run(scout, messages)
        result = agents.Runner.run_streamed(scout, messages)
        async for _ in result.stream_events():
            pass
        return result

    async def workflow(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
        async with AsyncOpenAI(base_url=model.base_url, api_key=model.api_key) as client:
            own = agents.OpenAIResponsesModel(model=model.model_name, openai_client=client)
            must = agents.ModelSettings(tool_choice="required", parallel_tool_calls=False)
            scout = agents.Agent(
                name="Scout",
                instructions="You look around.",
                model=own,
                model_settings=must,
                tools=[look],
                tool_use_behavior="stop_on_first_tool",
            )
            looked = await run(scout, task["question"])
            answering = scout.clone(
                model_settings=agents.ModelSettings(tool_choice="none"), output_type=Sight
            )
            told = await run(answering, looked.to_input_list())
        assert told.final_output.seen in ("nothing", "something")
        return WorkflowOutput(reward=1.0)

    for rollout in await roll_out(workflow):
        assert_one_conversation(rollout, calls=2)
        result = rollout.trajectory.calls[1].messages[-1]
        assert result["content"] in ("Nothing on the left.", "Nothing on the right.")


async def test_the_example_rolls_out(roll_out: RollOut) -> None:
    for rollout in await roll_out(_rewarded(run_path(str(EXAMPLE)))):
        assert_one_conversation(rollout, calls=1)


def _rewarded(example: dict[str, Any]) -> Any:
    async def workflow(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
        output = await example["run_agent"](task, model)
        verdict = await example["judge"]({"answer": "2"}, output.response)
        return WorkflowOutput(reward=verdict.reward)

    return workflow
