"""What the tests of the command line share: a program to run, and how a command ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

PROGRAM = '''
from pathlib import Path

from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.message import Msg
from agentscope.tuner import (
    AlgorithmConfig, DatasetConfig, JudgeOutput, TunerModelConfig, WorkflowOutput, tune,
)


async def agent(task, model):
    agent = ReActAgent("a", "Be brief.", model, OpenAIChatFormatter())
    return WorkflowOutput(response=await agent.reply(Msg("user", task["question"], "user")))


async def judge(task, response):
    """A success is an answer of an even number of letters: a coin, so that groups teach."""
    return JudgeOutput(reward=float(len(response.get_text_content() or "") % 2 == 0))


if __name__ == "__main__":
    result = tune(
        workflow_func=agent,
        judge_func=judge,
        model=TunerModelConfig(model_path="{model}", max_model_len=256, max_tokens=8),
        train_dataset=DatasetConfig(path="sums", split="train", total_steps=2),
        eval_dataset=DatasetConfig(path="sums", split="test"),
        algorithm=AlgorithmConfig(batch_size=2, group_size=4, learning_rate=1e-3),
        project_name="P",
        experiment_name="first",
        monitor_type="none",
    )
    print("finished", result.finished)
'''


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Astuner = Callable[..., Ended]
