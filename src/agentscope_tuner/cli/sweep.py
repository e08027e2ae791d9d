"""`astuner sweep`: a run for each combination of values, one after the other."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agentscope_tuner.cli.combinations import (
    Combination,
    combinations,
    run_name,
    short_names,
    swept,
)
from agentscope_tuner.cli.options import AsJson, Program
from agentscope_tuner.errors import InputError, RunError
from agentscope_tuner.signals import Terminated, exit_code
from agentscope_tuner.verbosity import shows_progress, verbosity
from agentscope_tuner.visible import visible

if TYPE_CHECKING:  # heavy
    from agentscope_tuner.config.schema import Config
    from agentscope_tuner.runs.listing import RunRow

STOPPED = (exit_code(signal.SIGINT), exit_code(signal.SIGTERM))
"""Exit codes of a run that a signal ended."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A run of the sweep, and what it is to be."""

    combination: Combination
    config: Config

    @property
    def directory(self) -> Path:
        """Where it is written."""
        assert self.config.name is not None
        return Path(self.config.checkpoint_root_dir, self.config.project, self.config.name)


def sweep(
    context: typer.Context,
    program: Program,
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE,VALUE",
            help="A configuration key and its values; a list is one value in its brackets. "
            "Repeatable: every combination is run.",
            show_default=False,
        ),
    ],
    name: Annotated[str, typer.Option(help="What the runs' names begin with.")] = "sweep",
    as_json: AsJson = False,
) -> None:
    """Run a program once for each combination of values, and compare the runs.

    All configurations are read before the first run begins. The same command goes on with a sweep
    that was stopped or killed: finished runs are left as they are. A run that fails does not end
    the sweep, but its exit code is 1.

    **Example:** `astuner sweep main.py --set algorithm.optimizer.lr=1e-6,1e-5 --set seed=0,1`
    """
    from agentscope_tuner.checkpoint.run_state import RunState
    from agentscope_tuner.cli.machine import machine_output, print_json
    from agentscope_tuner.engine.run_directory import is_finished
    from agentscope_tuner.runs.listing import find_run

    wanted = combinations(settings)
    short = short_names(swept(wanted))
    console, failed = Console(stderr=True, quiet=not shows_progress()), []
    with machine_output(True) as out:
        runs = [
            _planned(program, context.args, combination, run_name(name, combination, short))
            for combination in wanted
        ]
    for number, run in enumerate(runs, start=1):
        about = f"run {number} of {len(runs)}, {run.config.name}"
        if is_finished(RunState.load(run.directory), run.config):
            _say(console, f"{about}: finished already")
            continue
        _say(console, about)
        code = _run(program, context.args, run)
        if code in STOPPED:
            _say(console, "stopped; the same command goes on with the sweep")
            raise typer.Exit(code)
        if code:
            failed.append(str(run.config.name))
    begun = [(run, find_run(run.directory)) for run in runs if run.directory.is_dir()]
    if as_json:
        print_json([_plain(run, row) for run, row in begun], out)
    else:
        Console().print(_table(begun, short))
        _say(Console(), f"astuner compare {' '.join(str(run.directory) for run, _ in begun)}")
    if failed:
        raise RunError(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}.")


def _settings(combination: Combination, name: str) -> list[str]:
    return [f"{key}={value}" for key, value in {**combination, "name": name}.items()]


def _planned(program: Path, arguments: list[str], combination: Combination, name: str) -> Planned:
    """What `tune()` makes of the program and these settings. Raises InputError."""
    from agentscope_tuner.cli.invoke import invoke

    found: list[Config] = []
    with contextlib.suppress(SystemExit):  # which ends the program where tune() is called
        invoke(
            "export-config",
            program,
            arguments,
            _settings(combination, name),
            report=found.append,
        )
    if not found:
        raise InputError(f"{program} ended without a call of tune(), so there is no sweep.")
    return Planned(combination, found[0])


def _run(program: Path, arguments: list[str], run: Planned) -> int:
    """Run it in a process of its own; a signal reaches it once, not twice."""
    assert run.config.name is not None
    given = (part for s in _settings(run.combination, run.config.name) for part in ("--set", s))
    level = verbosity()
    said = () if level == "normal" else (f"--{level}",)
    astuner = (sys.executable, "-m", "agentscope_tuner", *said)
    command = [*astuner, "run", str(program), *arguments, *given]
    # What it says goes beside the table that this command prints.
    process = subprocess.Popen(command, stdout=sys.stderr, start_new_session=True)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
        except Terminated:
            process.send_signal(signal.SIGTERM)


def _say(console: Console, text: str) -> None:
    console.print(visible(text), markup=False, highlight=False, soft_wrap=True)


def _plain(run: Planned, row: RunRow) -> dict[str, Any]:
    best = {name: {"reward": reward, "step": step} for name, (reward, step) in row.best.items()}
    training = row.training and {"metric": row.training[0], "value": row.training[1]}
    return {
        "run": row.name,
        "directory": str(row.directory),
        "settings": run.combination,
        "status": row.status,
        "step": row.step,
        "best": best,
        "training": training,
    }


def _table(begun: list[tuple[Planned, RunRow]], short: dict[str, str]) -> Table:
    table = Table(*short.values(), "state", "step", "best evaluation", "training")
    for run, row in sorted(begun, key=lambda pair: _merit(pair[1]), reverse=True):
        best = (f"{name} {reward:.3f} at {step}" for name, (reward, step) in row.best.items())
        cells = (
            *(run.combination[key] for key in short),
            row.status,
            str(row.step),
            "\n".join(best) or "-",
            "-" if row.training is None else f"{row.training[0]} {row.training[1]:.3f}",
        )
        table.add_row(*(escape(visible(cell)) for cell in cells))
    return table


def _merit(row: RunRow) -> float:
    """The best mean reward on the first held-out set; runs without one come last."""
    return next((reward for reward, _ in row.best.values()), float("-inf"))
