"""Graphs of LangGraph, driven by the model's URL."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from typing import Any, Literal

import pytest
from agentscope.model import ChatModelBase
from framework_rollouts import RollOut, assert_one_conversation

from agentscope_tuner import WorkflowOutput

REASON = "needs `make test-frameworks` (langgraph, langchain-openai)"
graphs = pytest.importorskip("langgraph.graph", reason=REASON)
prebuilt = pytest.importorskip("langgraph.prebuilt", reason=REASON)
langchain_openai = pytest.importorskip("langchain_openai", reason=REASON)
EXAMPLE = Path(__file__).parents[2] / "examples" / "langgraph" / "main.py"


def look(direction: Literal["left", "right"]) -> str:
    """Look around."""
    return f"Nothing on the {direction}."


def chat_of(model: ChatModelBase, **options: Any) -> Any:
    return langchain_openai.ChatOpenAI(
        model=model.model_name, base_url=model.base_url, api_key=model.api_key, **options
    )


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_graph_that_calls_a_tool_is_one_branch_of_its_own_rollout(
    roll_out: RollOut, streaming: bool
) -> None:
    async def workflow(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
        chat = chat_of(model, streaming=streaming)
        # A model of random weights calls what it has to.
        must, may = (chat.bind_tools([look], tool_choice=choice) for choice in ("any", "auto"))

        async def act(state: graphs.MessagesState) -> dict[str, Any]:
            first = len(state["messages"]) == 1
            return {"messages": [await (must if first else may).ainvoke(state["messages"])]}

        graph = graphs.StateGraph(graphs.MessagesState)
        graph.add_node(act)
        graph.add_node("tools", prebuilt.ToolNode([look]))
        graph.add_edge(graphs.START, "act")
        graph.add_conditional_edges("act", prebuilt.tools_condition)
        graph.add_edge("tools", "act")
        await graph.compile().ainvoke({"messages": [("user", task["question"])]})
        return WorkflowOutput(reward=1.0)

    for rollout in await roll_out(workflow):
        assert_one_conversation(rollout, calls=2)
        result = rollout.trajectory.calls[1].messages[-1]
        assert result["role"] == "tool"
        assert result["content"] in ("Nothing on the left.", "Nothing on the right.")


async def test_the_example_asks_again_in_the_same_branch(roll_out: RollOut) -> None:
    example = run_path(str(EXAMPLE))

    async def workflow(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
        output = await example["run_graph"](task, model)
        verdict = await example["judge"]({"answer": "2"}, output.response)
        return WorkflowOutput(reward=verdict.reward, response=output.response)

    rollouts = await roll_out(workflow)
    for rollout in rollouts:
        first = rollout.trajectory.calls[0].response["content"]
        assert_one_conversation(rollout, calls=1 if example["numbers"](first) else 2)
        assert rollout.response == rollout.trajectory.calls[-1].response["content"]
