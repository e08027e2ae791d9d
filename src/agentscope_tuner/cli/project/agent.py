"""The agent. What it says through `model` is what the model learns from."""

from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg
from agentscope.model import ChatModelBase
from agentscope.tuner import WorkflowOutput


async def run_agent(task: dict, model: ChatModelBase) -> WorkflowOutput:
    """One rollout. `task` is a line of data/train.jsonl or data/test.jsonl."""
    agent = ReActAgent(
        name="agent",
        sys_prompt="You answer with a number and nothing else.",
        model=model,
        formatter=OpenAIChatFormatter(),
    )
    return WorkflowOutput(response=await agent.reply(Msg("user", task["question"], "user")))
