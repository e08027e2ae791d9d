"""Help, versions, exit codes: what every command shares."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType

import datasets
import pytest
from command_line import Astuner

from agentscope_tuner.cli.failures import users_frames
from agentscope_tuner.functions import load_function

COMMANDS = (
    "run",
    "check",
    "plan",
    "evaluate",
    "sweep",
    "init",
    "export",
    "export-config",
    "serve",
    "chat",
    "runs",
    "view",
    "show",
    "diagnose",
    "compare",
    "rescore",
    "select",
    "prompt",
    "enable",
    "disable",
    "env",
    "cache",
)


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from agentscope_tuner.cli import main\n"
        "sys.argv[1:] = ['--help']\n"
        "try:\n    main()\nfinally:\n"
        "    heavy = 'torch transformers datasets agentscope numpy pydantic asyncio yaml'.split()\n"
        "    print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_names_every_command(astuner: Astuner) -> None:
    ended = astuner("--help")
    assert ended.code == 0
    assert all(f"│ {command} " in ended.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_by_an_example(command: str, astuner: Astuner) -> None:
    assert f"Example: astuner {command}" in astuner(command, "--help").out


def test_the_version_is_that_of_the_package(astuner: Astuner) -> None:
    from agentscope_tuner import __version__

    assert astuner("--version").out == f"astuner {__version__}\n"


def test_the_environment_is_told_for_people_and_programs(astuner: Astuner) -> None:
    facts = json.loads(astuner("env", "--json").out)
    assert {"Python", "torch", "transformers", "processors", "memory", "GPUs", "cache"} <= set(
        facts
    )
    lines = astuner("env").out.splitlines()
    assert [line.split("  ")[0] for line in lines] == list(facts)


def test_the_package_is_typed_and_has_one_version() -> None:
    from importlib.resources import files

    assert files("agentscope_tuner").joinpath("py.typed").is_file()
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]


def test_bad_usage_ends_with_2(astuner: Astuner) -> None:
    assert astuner("run").code == 2
    assert astuner("evaluate", "main.py", "--samples", "0").code == 2
    assert astuner("export", "a", "b", "--dtype", "int4").code == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "missing.py"], "There is no script at 'missing.py'."),
        (["run", "missing.yaml"], "missing.yaml: cannot be read: No such file or directory"),
        (["run", "main.py", "--set", "buffer.total_stepz=3"], "did you mean total_steps?"),
        (["run", "config.yaml", "--epochs", "3"], "takes no arguments: --epochs 3."),
        (["runs", "nowhere"], "There is no directory nowhere."),
        (["export", "./nowhere", "out"], "model_path './nowhere' does not exist"),
        (["evaluate", "main.py", "--model", "./nowhere"], "'./nowhere' does not exist"),
    ],
)
def test_bad_input_is_one_sentence_and_ends_with_2(
    arguments: list[str], sentence: str, astuner: Astuner, program: Path
) -> None:
    ended = astuner(*arguments)
    assert ended.code == 2
    assert sentence in " ".join(ended.err.split())
    assert "Traceback" not in ended.err


def test_a_model_that_is_not_there_is_refused_before_anything_is_imported_or_written(
    program: Path,
) -> None:
    text = program.read_text()
    program.write_text(re.sub(r'model_path="[^"]*"', 'model_path="./nowhere"', text))
    code = (
        "import sys\n"
        "from agentscope_tuner.cli import main\n"
        f"sys.argv = ['astuner', 'run', {str(program)!r}]\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "model_path './nowhere' does not exist" in done.stderr
    assert done.stdout == "False\n"
    assert not Path("checkpoints").exists()


def test_a_missing_api_key_is_refused_before_anything_is_written(
    astuner: Astuner, program: Path
) -> None:
    server = "{name: j, model_path: x, base_url: 'http://localhost:1', api_key_env: NO_SUCH_KEY}"
    ended = astuner("run", program, "--set", f"explorer.auxiliary_models=[{server}]")
    assert ended.code == 2
    assert "NO_SUCH_KEY, which is not set" in " ".join(ended.err.split())
    assert not Path("checkpoints").exists()


def test_check_shows_a_task_with_a_date(astuner: Astuner, program: Path) -> None:
    day = datetime(2026, 11, 24)
    datasets.Dataset.from_list([{"question": "1 + 1 =", "day": day}]).to_parquet("dated.parquet")
    program.write_text(program.read_text().replace('path="sums"', 'path="dated.parquet"', 1))
    ended = astuner("check", program)
    assert ended.code == 0, ended.err
    assert '"day": "2026-11-24 00:00:00"' in " ".join(ended.out.split())


@pytest.fixture
def preview(tmp_path: Path) -> Path:
    """A script that only looks at its data."""
    script = tmp_path / "preview.py"
    script.write_text("print('nothing to tune')\n")
    return script


def test_a_script_without_a_call_of_tune_is_run_and_said_to_tune_nothing(
    astuner: Astuner, preview: Path
) -> None:
    ended = astuner("run", preview)
    assert ended.code == 0
    assert ended.out == "nothing to tune\n"
    assert ended.err == f"note: {preview} ended without a call of tune(): nothing was tuned.\n"


@pytest.mark.parametrize(
    "arguments", [("check",), ("evaluate",), ("run", "--resume"), ("run", "--set", "seed=1")]
)
def test_what_needs_a_call_of_tune_is_refused_without_one(
    arguments: tuple[str, ...], astuner: Astuner, preview: Path
) -> None:
    ended = astuner(*arguments, preview)
    assert ended.code == 2
    assert "ended without a call of tune()" in " ".join(ended.err.split())


def test_an_error_in_a_script_is_shown_from_its_own_first_line(
    astuner: Astuner, tmp_path: Path
) -> None:
    script = tmp_path / "main.py"
    script.write_text("def build():\n    return TunerModelConfig()\n\nbuild()\n")
    ended = astuner("run", script)
    assert ended.code == 1
    lines = ended.err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == f'  File "{script}", line 4, in <module>'
    assert lines[-1] == "NameError: name 'TunerModelConfig' is not defined"
    assert sum("File" in line for line in lines) == 2


def test_a_script_that_is_no_python_is_shown_where(astuner: Astuner, tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text("tune(\n")
    ended = astuner("run", script)
    assert ended.code == 1
    lines = ended.err.splitlines()
    assert lines[0] == f'  File "{script}", line 1'
    assert lines[-1].startswith("SyntaxError")


def test_an_error_of_ours_keeps_its_traceback() -> None:
    def raised(function: Callable[[], object]) -> TracebackType | None:
        try:
            function()
        except Exception as error:
            return error.__traceback__.tb_next if error.__traceback__ else None
        return None

    assert users_frames(raised(lambda: load_function("json:missing"))) is not None  # this lambda
    assert users_frames(raised(partial(load_function, "json:missing"))) is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_script_that_has_not_begun_to_tune_with_its_code(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    script = tmp_path / "slow.py"
    script.write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "agentscope_tuner", "run", str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(30) == code


def test_a_run_that_fails_ends_with_1(astuner: Astuner, program: Path) -> None:
    program.write_text(program.read_text().replace('task["question"]', 'task["no such key"]'))
    ended = astuner("run", program, "--set", "explorer.max_retry_times=0")
    assert ended.code == 1
    assert "no such key" in ended.err


def test_an_interrupted_script_ends_with_130(astuner: Astuner, tmp_path: Path) -> None:
    script = tmp_path / "stopped.py"
    script.write_text("raise KeyboardInterrupt\n")
    assert astuner("run", script).code == 130


@pytest.mark.parametrize(
    ("command", "name", "code", "says"),
    [
        ("run", "SIGINT", 130, "--resume"),
        ("run", "SIGTERM", 143, "--resume"),
        ("check", "SIGINT", 130, ""),
        ("check", "SIGTERM", 143, ""),
    ],
)
def test_what_a_signal_stopped_ends_with_its_code(
    astuner: Astuner, program: Path, command: str, name: str, code: int, says: str
) -> None:
    once = (
        "import signal\n"
        "    if not hasattr(judge, 'asked'):\n"
        "        judge.asked = True\n"
        f"        signal.raise_signal(signal.{name})\n"
        "    return JudgeOutput("
    )
    program.write_text(program.read_text().replace("return JudgeOutput(", once, 1))
    ended = astuner(command, program)
    assert ended.code == code
    assert says in ended.out


def test_a_run_inside_an_event_loop_is_stopped_by_the_first_ctrl_c(
    astuner: Astuner, program: Path
) -> None:
    once = (
        "import os, signal\n"
        "    if not hasattr(judge, 'asked'):\n"
        "        judge.asked = True\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return JudgeOutput("
    )
    text = program.read_text().replace("return JudgeOutput(", once, 1)
    head, main = text.split("if __name__")
    inside = main.splitlines()[1:]
    script = [head, "async def main():", *inside, "import asyncio", "asyncio.run(main())"]
    program.write_text("\n".join(script))
    ended = astuner("run", program)
    assert ended.code == 130
    assert "--resume" in ended.out


def test_arguments_that_are_no_options_reach_the_script(astuner: Astuner, tmp_path: Path) -> None:
    script = tmp_path / "show.py"
    script.write_text("import sys\nprint(sys.argv[1:])\nsys.exit(7)\n")
    ended = astuner("run", script, "--epochs", "3", "fast")
    assert ended.code == 7
    assert ended.out == "['--epochs', '3', 'fast']\n"
