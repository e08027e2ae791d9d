"""A run of a few seconds, in a process of its own that can be signalled and killed.

As a script it is what `astuner run` is given; `start` does that in a process forked from one that
has imported everything already.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from agentscope.model import ChatModelBase

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)

PROGRAM = __file__
PRELOADED = [
    *("attack.program", "agentscope_tuner.cli", "agentscope_tuner.commands"),
    *("agentscope_tuner.monitor.tensorboard", "agentscope_tuner.monitor.curve", "renderers"),
]
"""What a run imports sooner or later."""
STEPS = 4
OUTPUT = "output.txt"
"""What the process said, in the directory that it was started in."""


async def ask(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    """Reward something that every sample does differently."""
    text = ""
    for turn in (task["question"], "Are you sure?"):
        response = await model([{"role": "user", "content": turn}])
        text += response.content[0]["text"]
    return WorkflowOutput(response=text, reward=len(set(text)) / 10)


def write_data(directory: Path) -> Path:
    """Twelve tasks to learn from and four held out, with all that a selector or `sft` may read."""
    directory.mkdir(parents=True, exist_ok=True)
    for split, numbers in {"train": range(12), "test": range(12, 16)}.items():
        (directory / f"{split}.jsonl").write_text(
            "".join(json.dumps(_row(n)) + "\n" for n in numbers)
        )
    return directory


def _row(number: int) -> dict[str, Any]:
    question = f"{number} + 1 ="
    return {
        "question": question,
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": str(number + 1)},
        ],
        "weak": number % 5 / 8,
        "strong": 0.5 + number % 3 / 8,
    }


def start(directory: Path, *arguments: str) -> BaseProcess:
    """Start `astuner` with these arguments in `directory`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_main, args=(directory, ["astuner", *arguments]))
    process.start()
    return process


def _main(directory: Path, command: list[str]) -> None:
    from agentscope_tuner.cli import main

    os.chdir(directory)
    sys.argv = command
    with Path(OUTPUT).open("a") as output, redirect_stdout(output), redirect_stderr(output):
        main()


if __name__ == "__main__":
    model_path, data_path = sys.argv[1:]
    tune(
        workflow_func=ask,
        model=TunerModelConfig(model_path=model_path, max_model_len=256, max_tokens=8),
        train_dataset=DatasetConfig(path=data_path, split="train", total_steps=STEPS),
        eval_dataset=DatasetConfig(path=data_path, split="test"),
        algorithm=AlgorithmConfig(
            algorithm_type="multi_step_grpo",
            group_size=3,
            batch_size=2,
            learning_rate=1e-3,
            eval_interval_steps=2,
            save_interval_steps=1,
        ),
    )
