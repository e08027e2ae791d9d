"""Tasks: loading them, the order they come in, and a cursor that can be saved."""

from agentscope_tuner.tasks.loading import load_samples
from agentscope_tuner.tasks.selectors import SELECTORS, Selector, make_selector
from agentscope_tuner.tasks.taskset import Samples, Task, TaskBatch, Taskset, make_tasks

__all__ = [
    "SELECTORS",
    "Samples",
    "Selector",
    "Task",
    "TaskBatch",
    "Taskset",
    "load_samples",
    "make_selector",
    "make_tasks",
]
