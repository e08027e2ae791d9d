"""`data_processor.task_pipeline`: Data-Juicer's work on tasks, which Trinity-RFT does before a run.

Here it has been done before: Trinity writes what comes of it where the dataset is read from, so the
dataset is read, and nothing is processed. What would be read unprocessed is refused.
"""

from __future__ import annotations

from os.path import normpath
from pathlib import Path
from typing import Any

from pydantic import Field

from agentscope_tuner.config.keys import Section, not_here
from agentscope_tuner.config.trinity_keys import with_trinitys_keys
from agentscope_tuner.errors import InputError

_DONE_BEFORE = "Data-Juicer is not called; the dataset is what it wrote before"
_WHAT_TO_DO = (
    "run the operators of data_processor.task_pipeline beforehand, with Data-Juicer, which is not "
    "called here"
)


class TaskOperator(Section):
    """One of Data-Juicer's operators on tasks."""

    name: str = not_here("", "Name of the operator.", _DONE_BEFORE)
    args: dict[str, Any] = not_here(dict, "Its arguments.", _DONE_BEFORE)


@with_trinitys_keys("data_processor.task_pipeline")
class TaskPipeline(Section):
    """Data-Juicer's work on tasks, done before the run."""

    operators: list[TaskOperator] = Field(default_factory=list)
    config_path: str | None = not_here(None, "A configuration of Data-Juicer's.", _DONE_BEFORE)
    inputs: list[str] = not_here(list, "Files that it reads tasks from.", _DONE_BEFORE)

    @property
    def has_work(self) -> bool:
        """Whether it does anything to tasks."""
        return bool(self.operators or self.config_path)

    def refuse_its_inputs(self, path: str) -> None:
        """Raise InputError if the dataset at `path` may be what it was to work on."""
        unprocessed = {normpath(file) for file in self.inputs}
        if not self.has_work or (unprocessed and normpath(path) not in unprocessed):
            return
        reads = f"reads {' and '.join(self.inputs)}" if self.inputs else "names no inputs"
        raise InputError(
            f"the dataset {path} is not what data_processor.task_pipeline makes, which {reads}: "
            f"{_WHAT_TO_DO}, and name their output as the dataset's path"
        )

    def refuse_no_output(self, path: str) -> None:
        """Raise InputError if nothing is at `path`, where its output is to be."""
        if self.has_work and not Path(path).exists():
            raise InputError(f"There is no dataset at {path} yet: {_WHAT_TO_DO}.")
