"""The real command line, in this process: what it prints and how it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import PROGRAM, Astuner, Ended

from astuner_command import exit_code


@pytest.fixture
def astuner(capfd: pytest.CaptureFixture[str]) -> Astuner:
    """Runs `astuner` with these arguments."""

    def run(*arguments: str | Path) -> Ended:
        code = exit_code(*arguments)
        return Ended(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def workplace(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `main.py`, which tunes the tiny model for two steps, and its dataset."""
    directory = tmp_path_factory.mktemp("workplace")
    (directory / "main.py").write_text(PROGRAM.replace("{model}", str(tiny_model)))
    (directory / "sums").mkdir()
    for split, numbers in {"train": range(12), "test": range(12, 16)}.items():
        lines = [json.dumps({"question": f"{n} + 1 ="}) + "\n" for n in numbers]
        (directory / "sums" / f"{split}.jsonl").write_text("".join(lines))
    return directory


@pytest.fixture(scope="session")
def tuned_workplace(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after `astuner run main.py`, with four samples of each held-out task."""
    directory = tmp_path_factory.mktemp("tuned") / "workplace"
    shutil.copytree(workplace, directory)
    four = "buffer.explorer_input.eval_tasksets.0.repeat_times=4"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        assert exit_code("run", "main.py", "--set", four) == 0
    return directory


@pytest.fixture
def program(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`main.py` in a working directory of the test's own."""
    return _enter(workplace, tmp_path, monkeypatch)


@pytest.fixture
def tuned(tuned_workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a finished run, in a working directory of the test's own."""
    _enter(tuned_workplace, tmp_path, monkeypatch)
    return Path("checkpoints/P/first")


def _enter(source: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(source, place, dirs_exist_ok=True)
    monkeypatch.chdir(place)
    return place / "main.py"
