"""`workflow`: where the Python functions of a run come from."""

from __future__ import annotations

from agentscope_tuner.config.keys import Section, effect


class Workflow(Section):
    """The functions of a run, as path/to/file.py:function or module:function.

    tune() writes here where those that it was given came from.
    """

    workflow_func: str | None = effect(
        None,
        "The agent; empty: the function that tune() is given.",
        examples=["main.py:run_react_agent"],
    )
    judge_func: str | None = effect(
        None,
        "The judge; empty: the function that tune() is given, or none.",
        examples=["main.py:judge_function"],
    )
