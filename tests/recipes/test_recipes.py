"""What docs/environments.md tells users to write, run for real."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.mcp import StdIOStatefulClient
from agentscope.message import Msg, TextBlock
from agentscope.tool import Toolkit, ToolResponse
from transformers import AutoTokenizer, PreTrainedTokenizerBase

sys.path.append(str(Path(__file__).parents[1] / "chat"))
from chat_parts import saying, serve

from agentscope_tuner.rollout.runner import RolloutRunner
from agentscope_tuner.trajectory import Rollout
from agentscope_tuner.workflow import JudgeOutput, WorkflowOutput

SERVER = str(Path(__file__).parent / "shop_server.py")


@pytest.fixture(scope="module")
def smol(smol_directory: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(smol_directory)


async def rolled_out(
    smol: PreTrainedTokenizerBase, said: list[str], workflow: Any, judge: Any = None, n: int = 1
) -> list[Rollout]:
    runner = RolloutRunner(serve(smol, saying(smol, said)), workflow, judge, max_retries=0)
    (group,) = await runner.run_groups(
        [{"question": "How much is the lamp?"}], n, label="s", seed=0
    )
    for rollout in group.rollouts:
        assert rollout.error is None, rollout.error
    return group.rollouts


def called(tool: str, **arguments: str) -> str:
    fields = ", ".join(f'"{name}": "{value}"' for name, value in arguments.items())
    return f'<tool_call>\n{{"name": "{tool}", "arguments": {{{fields}}}}}\n</tool_call>'


def agent(model: Any, toolkit: Toolkit) -> ReActAgent:
    return ReActAgent("clerk", "You sell.", model, OpenAIChatFormatter(), toolkit=toolkit)


async def test_an_mcp_server_over_stdio_lends_its_tools(smol: PreTrainedTokenizerBase) -> None:
    async def workflow(task: dict[str, Any], model: Any) -> WorkflowOutput:
        shop = StdIOStatefulClient("shop", command=sys.executable, args=[SERVER])
        await shop.connect()
        try:
            toolkit = Toolkit()
            await toolkit.register_mcp_client(shop)
            reply = await agent(model, toolkit).reply(Msg("user", task["question"], "user"))
        finally:
            await shop.close()
        return WorkflowOutput(response=reply, reward=1.0)

    (rollout,) = await rolled_out(smol, [called("price", article="lamp"), "17 euros."], workflow)
    (result,) = [m for m in rollout.trajectory.calls[1].messages if m["role"] == "tool"]
    assert "17 euros" in str(result["content"])
    assert rollout.response == "17 euros."


async def test_a_tool_that_blocks_waits_in_a_thread(smol: PreTrainedTokenizerBase) -> None:
    import threading

    main, meeting, met = threading.get_ident(), threading.Barrier(2, timeout=30), []

    def look_up(article: str) -> str:
        meeting.wait()  # both rollouts' tools run at once, or neither returns
        met.append(threading.get_ident())
        return f"{article}: 17 euros"

    async def price(article: str) -> ToolResponse:
        """The price of an article.

        Args:
            article (str): what is asked for
        """
        text = await asyncio.to_thread(look_up, article)
        return ToolResponse(content=[TextBlock(type="text", text=text)])

    async def workflow(task: dict[str, Any], model: Any) -> WorkflowOutput:
        toolkit = Toolkit()
        toolkit.register_tool_function(price)
        reply = await agent(model, toolkit).reply(Msg("user", task["question"], "user"))
        return WorkflowOutput(response=reply, reward=1.0)

    said = [called("price", article="lamp")] * 2 + ["17."] * 2
    await rolled_out(smol, said, workflow, n=2)
    assert len(met) == 2
    assert main not in met


async def test_a_judge_with_a_rate_limit_lets_so_many_in_at_once(
    smol: PreTrainedTokenizerBase,
) -> None:
    slots, inside, most = asyncio.Semaphore(2), 0, 0

    async def workflow(task: dict[str, Any], model: Any) -> WorkflowOutput:
        await model([{"role": "user", "content": task["question"]}])
        return WorkflowOutput(response="")

    async def judge(task: dict[str, Any], response: str) -> JudgeOutput:
        nonlocal inside, most
        async with slots:
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1
        return JudgeOutput(reward=1.0)

    await rolled_out(smol, ["17."] * 6, workflow, judge, n=6)
    assert most == 2


async def test_one_agent_calls_another_and_both_are_recorded(
    smol: PreTrainedTokenizerBase,
) -> None:
    async def workflow(task: dict[str, Any], model: Any) -> WorkflowOutput:
        async def ask_colleague(question: str) -> ToolResponse:
            """Ask a colleague.

            Args:
                question (str): what to ask
            """
            colleague = ReActAgent("colleague", "You know prices.", model, OpenAIChatFormatter())
            reply = await colleague.reply(Msg("user", question, "user"))
            text = reply.get_text_content() or ""
            return ToolResponse(content=[TextBlock(type="text", text=text)])

        toolkit = Toolkit()
        toolkit.register_tool_function(ask_colleague)
        reply = await agent(model, toolkit).reply(Msg("user", task["question"], "user"))
        return WorkflowOutput(response=reply, reward=1.0)

    said = [called("ask_colleague", question="the lamp?"), "17 euros.", "It is 17 euros."]
    (rollout,) = await rolled_out(smol, said, workflow)
    assert len(rollout.trajectory.calls) == 3
    assert len(rollout.trajectory.leaves()) == 2  # the clerk's conversation, and the colleague's
