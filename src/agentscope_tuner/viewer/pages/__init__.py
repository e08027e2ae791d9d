"""The pages as plain data: what the server answers and what a report carries.

Each function returns what JSON can write; `PAGES` names them as the client asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agentscope_tuner.viewer.library import Library
from agentscope_tuner.viewer.pages.compare import compare_page
from agentscope_tuner.viewer.pages.rollouts import (
    group_page,
    list_page,
    rollout_page,
    step_page,
    task_page,
)
from agentscope_tuner.viewer.pages.run import files_page, findings_page, run_page
from agentscope_tuner.viewer.pages.runs import runs_page

Page = Callable[[Library, Mapping[str, str]], dict[str, Any]]

PAGES: dict[str, Page] = {
    "runs": runs_page,
    "run": run_page,
    "findings": findings_page,
    "files": files_page,
    "step": step_page,
    "list": list_page,
    "group": group_page,
    "rollout": rollout_page,
    "task": task_page,
    "compare": compare_page,
}
