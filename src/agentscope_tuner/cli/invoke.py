"""Running a program so that its calls of `tune()` obey a command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from agentscope_tuner.errors import InputError, TunerError
from agentscope_tuner.importing import without_collection
from agentscope_tuner.signals import exit_code

if TYPE_CHECKING:  # heavy
    from agentscope_tuner.tuning import Invocation

YAML = (".yaml", ".yml")


def invoke(
    command: str,
    program: Path,
    arguments: list[str],
    settings: list[str] | None,
    *,
    resume: bool = False,
    report: Callable[[Any], None] | None = None,
    **options: object,
) -> None:
    """Run a script or a configuration, whose `tune()` does what `command` says.

    `report` shows what a command that only looks has found.

    Raises InputError if the command had nothing to act on: the script never called `tune()`, or
    not with a workflow where the command needs one. Only `run` without options takes that, as it
    has done what it was asked for.
    """
    # Imported late: `--help` and bad arguments answer at once.
    with without_collection():
        from agentscope_tuner.compat import run_script
        from agentscope_tuner.tuning import Invocation, invoked_as, tune

    invocation = Invocation(command, settings or (), resume, options, report)
    with invoked_as(invocation), _saying_what_was_missing(invocation, program):
        if program.suffix in YAML:
            if arguments:
                raise InputError(f"A configuration takes no arguments: {' '.join(arguments)}.")
            tune(config_path=program)
        else:
            run_script(str(program), arguments)
    if not invocation.calls:
        if command != "run" or settings or resume:
            raise InputError(
                f"{program} ended without a call of tune(), so there was no {command}."
            )
        note = f"note: {program} ended without a call of tune(): nothing was tuned."
        Console(stderr=True).print(note, markup=False, highlight=False, soft_wrap=True)
    if invocation.stopped_by is not None:
        raise typer.Exit(exit_code(invocation.stopped_by))


@contextmanager
def _saying_what_was_missing(invocation: Invocation, program: Path) -> Iterator[None]:
    """Raise InputError if all calls of `tune()` in the block were passed over, however it ended:
    a script may have needed what such a call would have returned."""
    why = ""
    try:
        yield
    except TunerError:
        raise
    except SystemExit as ended:
        if ended.code or not _has_passed_over_all(invocation):
            raise
    except Exception as error:
        if not _has_passed_over_all(invocation):
            raise
        why = f", and without a run it ended by {type(error).__name__}: {error}"
    if _has_passed_over_all(invocation):
        raise InputError(
            f"{program} has no call of tune() with a workflow_func to {invocation.command}: give "
            f"it one{why}."
        )


def _has_passed_over_all(invocation: Invocation) -> bool:
    return invocation.calls == invocation.passed_over > 0
