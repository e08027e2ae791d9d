"""Scripts that say `from agentscope.tuner import ...` meet this package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentscope_tuner.compat import install, run_script
from agentscope_tuner.errors import InputError

SOURCE = str(Path(__file__).parents[2] / "src")


def python(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


SCRIPT = """
import sys
from agentscope.tuner import WorkflowOutput, JudgeOutput, WorkflowType, check_judge_function
from agentscope.tuner._config import check_workflow_function
from agentscope.agent import ReActAgent
import agentscope.tuner
import neighbour

assert WorkflowOutput.__module__ == "agentscope_tuner.workflow"
assert agentscope.tuner.JudgeOutput is JudgeOutput
assert "dspy" not in sys.modules
assert __name__ == "__main__"

async def workflow(task, model):
    return WorkflowOutput(reward=1.0)

check_workflow_function(workflow)
print(sys.argv, sys.path[0], __file__, neighbour.VALUE)
"""


def test_a_script_runs_as_python_would_run_it(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "main.py").write_text(SCRIPT)
    (tmp_path / "sub" / "neighbour.py").write_text("VALUE = 7\n")
    run = "from agentscope_tuner.compat import run_script; run_script('sub/main.py', ['--a', 'b'])"
    done = python("-c", run, directory=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = f"['sub/main.py', '--a', 'b'] {tmp_path / 'sub'} sub/main.py 7"
    assert done.stdout.strip().splitlines()[-1] == expected


ERRORS = """
import sys
import agentscope_tuner
from agentscope_tuner.errors import InputError

agentscope_tuner.install()
agentscope_tuner.install()  # a second time changes nothing
from agentscope.tuner import PromptTuneConfig, select_model, tune_prompt
from agentscope.tuner.prompt_tune import tune_prompt
from agentscope.tuner.model_selection import avg_time_judge, avg_token_consumption_judge
assert select_model.__module__ == "agentscope_tuner.select.model_selection"

try:
    from agentscope.tuner import nonsense
except ImportError as error:
    assert "nonsense" in str(error) and not isinstance(error, InputError)

sys.modules["agentscope.tuner"] = object()  # as if AgentScope's own had been imported
try:
    agentscope_tuner.install()
except InputError as error:
    assert "call agentscope_tuner.install() before it" in str(error)
else:
    raise AssertionError("the other tuner was replaced")
print("fine")
"""


def test_every_name_is_served_and_others_are_refused(tmp_path):
    (tmp_path / "errors.py").write_text(ERRORS)
    done = python("errors.py", directory=tmp_path)
    assert done.stdout.strip().endswith("fine"), done.stderr


def test_the_names_of_earlier_releases_are_the_same_classes():
    install()
    names: dict[str, object] = {}
    exec("from agentscope.tuner import *", names)
    exec("from agentscope.tuner import Algorithm, Dataset, TunerChatModel", names)
    assert names["Algorithm"] is names["AlgorithmConfig"]
    assert names["Dataset"] is names["DatasetConfig"]
    assert names["TunerChatModel"] is names["TunerModelConfig"]


def test_a_missing_script_is_named():
    with pytest.raises(InputError, match=r"There is no script at 'none\.py'\."):
        run_script("none.py")
