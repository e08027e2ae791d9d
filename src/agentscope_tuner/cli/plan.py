"""`astuner plan`: what a run will take."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from agentscope_tuner.cli.invoke import invoke
from agentscope_tuner.cli.options import AsJson, Program, Settings

if TYPE_CHECKING:  # heavy
    from agentscope_tuner.engine.plan import Measured, Plan


def plan(
    context: typer.Context,
    program: Program,
    per_hour: Annotated[
        float | None,
        typer.Option(min=0, help="What an hour of this machine costs.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    settings: Settings = None,
) -> None:
    """Take the first steps of a run, throw them away, and say what the whole run will take.

    Memory against what is free, seconds a step by phase, hours, disk, and what would take less.
    Ends with 1 if there is not enough memory or disk.

    **Example:** `astuner plan main.py --set algorithm.repeat_times=16`
    """
    from agentscope_tuner.cli.machine import machine_output, print_json

    def report(planned: Plan) -> None:
        if as_json:
            print_json(_plain(planned, per_hour), out)
        else:
            console = Console(file=out)
            for line in _lines(planned, per_hour):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        if not planned.fits:
            raise typer.Exit(1)

    with machine_output(True) as out:
        invoke("plan", program, context.args, settings, report=report)


def _plain(planned: Plan, per_hour: float | None) -> dict[str, Any]:
    found = asdict(planned) | {
        "fits": planned.fits,
        "memory_bytes": planned.memory_bytes,
        "disk_bytes": planned.disk_bytes,
        "hours": planned.hours,
        "hours_at_most": planned.hours_at_most,
        "advice": planned.advice(),
    }
    return found if per_hour is None else found | {"price": planned.hours * per_hour}


def _lines(planned: Plan, per_hour: float | None) -> list[str]:
    from agentscope_tuner.engine.plan import gigabytes

    known = "at its peak" if planned.measured else "for the models alone, by their size"
    free = gigabytes(planned.free_bytes)
    lines = [f"memory: {gigabytes(planned.memory_bytes)} {known}; {free} free on {planned.device}"]
    if (measured := planned.measured) is not None:
        lines += [
            _step(measured),
            f"run: {planned.steps} steps in {_hours(planned.hours)}, evaluations and checkpoints "
            f"included; {_hours(planned.hours_at_most)} if every answer came to be as long as it "
            "may and every group to teach",
            f"disk: {gigabytes(planned.disk_bytes)}; {gigabytes(planned.disk_free_bytes)} free",
        ]
        if per_hour is not None:
            least, most = (per_hour * h for h in (planned.hours, planned.hours_at_most))
            lines.append(f"price: {least:.2f} to {most:.2f}")
    lines += planned.advice()
    lines.append("it fits" if planned.fits else "it does not fit")
    return lines


def _step(measured: Measured) -> str:
    phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in measured.phases_s.items())
    return (
        f"step: {measured.step_s:.2f} s ({phases}) for {measured.rollouts} rollouts of "
        f"{measured.response_tokens:.1f} tokens, {measured.teaching:.0%} of them learnt from; "
        f"train {measured.all_teach_s:.2f} if all are"
    )


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"
