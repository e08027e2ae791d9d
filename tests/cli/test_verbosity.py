"""`astuner --verbose` and `--quiet`: what is said on the terminal, and what stays in the log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Astuner

from agentscope_tuner.verbosity import progress_bars, set_verbosity, shows_progress

SAYS = """
async def judge(task, response, logger):
    logger.info("seen by the judge")
    logger.warning("a warning \\x1b[2J of the judge")
"""


def said(program: Path, *options: str) -> tuple[str, str, str]:
    """Standard output, standard error and the log of a run, in a process of its own."""
    text = program.read_text()
    program.write_text(text.replace("\nasync def judge(task, response):", SAYS))
    done = subprocess.run(
        [sys.executable, "-m", "agentscope_tuner", *options, "run", "main.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr, Path("checkpoints/P/first/run.log").read_text()


@pytest.mark.parametrize(("option", "shown"), [("--quiet", False), ("--verbose", True)])
def test_what_is_said_follows_the_option_and_the_log_is_complete(
    program: Path, option: str, shown: bool
) -> None:
    out, err, log = said(program, option)
    assert ("step 1/2" in out) is shown
    assert "finished True" in out  # the program's own words
    for line in (
        "a warning ␛[2J of the judge",
        "seen by the judge",
        "step1-0-0: reward",
        "learning, done in",
    ):
        assert (line in err) is shown, line
    assert "step 1/2: " in log
    assert "a warning ␛[2J of the judge" in log


@pytest.mark.parametrize("set_up", ["", "logging.basicConfig()"])
def test_a_warning_is_shown_once_although_the_log_takes_it(tmp_path: Path, set_up: str) -> None:
    program = f"""
import logging, pathlib
from agentscope_tuner.runs.log import RunLog
{set_up}
log = RunLog(pathlib.Path({str(tmp_path)!r}))
log.open()
logging.getLogger("somebody").warning("look out")
logging.getLogger("somebody").info("never mind")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr.count("look out") == 1
    assert "never mind" not in done.stderr
    assert "look out" in (tmp_path / "run.log").read_text()


def test_opposites_are_refused(astuner: Astuner) -> None:
    ended = astuner("--quiet", "--verbose", "env")
    assert ended.code == 2
    assert "give one of them" in ended.err


def test_bars_are_progress() -> None:
    set_verbosity("quiet")
    try:
        assert not shows_progress()
        assert progress_bars().disable
    finally:
        set_verbosity("normal")
    assert not progress_bars().disable
