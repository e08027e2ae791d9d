"""`astuner enable`: plain Python meets this package, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
COMMAND = "from agentscope_tuner.cli import main; main()"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that sees this package and everything that it needs."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, with_pip=False)
    packages = directory / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    seen = [str(SOURCE), sysconfig.get_path("purelib")]
    (packages / "seen.pth").write_text("\n".join(seen) + "\n")
    return directory


def python(environment: Path, *arguments: str, check: bool = True) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [environment / "bin" / "python", *arguments],
        cwd=environment,
        env=clean,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def astuner(environment: Path, command: str) -> str:
    # The words wrap where the terminal ends.
    return " ".join(python(environment, "-c", COMMAND, command).split())


MAIN = """
import subprocess, sys
from agentscope.tuner import tune, WorkflowOutput, JudgeOutput
import agentscope.tuner
from agentscope.agent import ReActAgent
from trinity.common.rewards.math_reward import MathBoxedRewardFn

assert tune.__module__ == "agentscope_tuner.tuning", tune.__module__
assert agentscope.tuner.tune is tune
assert MathBoxedRewardFn()("It is \\\\boxed{8}.", "8")["accuracy"] == 1
if sys.argv[1:] != ["inner"]:
    subprocess.run([sys.executable, __file__, "inner"], check=True)
print("fine")
"""


def test_a_script_and_its_subprocess_meet_this_package_until_it_is_disabled(
    environment: Path,
) -> None:
    (environment / "main.py").write_text(MAIN)
    assert "AgentScope's own" in astuner(environment, "env")
    assert python(environment, "main.py", check=False).splitlines()[-1] != "fine"

    assert "python main.py" in astuner(environment, "enable")
    assert "_agentscope_tuner_startup.pth" in astuner(environment, "env")
    assert python(environment, "main.py").split() == ["fine", "fine"]

    assert astuner(environment, "enable")  # a second time renews it
    astuner(environment, "disable")
    assert "AgentScope's own" in astuner(environment, "env")
    assert not list(environment.rglob("*_agentscope_tuner_startup*"))
    assert "was not enabled" in astuner(environment, "disable")


def test_the_hook_costs_a_process_no_import(environment: Path) -> None:
    astuner(environment, "enable")
    loaded = "import sys; print(len(sys.modules), *sys.modules)"
    with_it = python(environment, "-c", loaded).split()
    astuner(environment, "disable")
    without = python(environment, "-c", loaded).split()
    assert set(with_it[1:]) - set(without[1:]) == {"_agentscope_tuner_startup"}


def test_without_the_package_the_hook_steps_back(environment: Path) -> None:
    astuner(environment, "enable")
    gone = "import sys; sys.path.remove(%r); import agentscope.tuner" % str(SOURCE)  # noqa: UP031
    said = python(environment, "-c", gone, check=False)
    assert "dspy" in said or "agentscope_tuner" not in said
    astuner(environment, "disable")


def test_a_trinity_that_is_installed_stays_itself(environment: Path) -> None:
    astuner(environment, "enable")
    real = environment / "real" / "trinity"
    real.mkdir(parents=True)
    (real / "__init__.py").write_text("REAL = True\n")
    program = (
        "import sys; sys.path.insert(0, 'real'); import agentscope.tuner, trinity; "
        "print(trinity.REAL)"
    )
    assert python(environment, "-c", program).strip() == "True"
    astuner(environment, "disable")


def test_an_environment_that_takes_no_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from agentscope_tuner.compat import environment
    from agentscope_tuner.errors import InputError

    monkeypatch.setattr(environment, "_directories", lambda: [Path("/dev/null/packages")])
    with pytest.raises(InputError, match="/dev/null/packages: Not a directory"):
        environment.enable()
    assert sys.prefix == str(environment.current().prefix)
