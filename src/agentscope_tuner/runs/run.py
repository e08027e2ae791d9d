"""A run as an object: for notebooks and programs that read what a run has left."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from agentscope_tuner.errors import InputError
from agentscope_tuner.runs.comparison import Curve, curve_of
from agentscope_tuner.runs.diagnosis.case import answer
from agentscope_tuner.runs.diagnosis.finding import Finding
from agentscope_tuner.runs.diagnosis.rules import diagnose
from agentscope_tuner.runs.encoding import rollout_of
from agentscope_tuner.runs.files import CONFIG_FILE, RunFiles
from agentscope_tuner.runs.listing import find_run
from agentscope_tuner.trajectory import Rollout
from agentscope_tuner.visible import visible

if TYPE_CHECKING:
    import pandas


class Run:
    """What a run directory holds, read when asked: it may still be growing.

    Args:
        directory: a run directory, `checkpoints/<project>/<name>`.

    Raises InputError: no run is there, or files of it are damaged (then where they are read).
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = find_run(Path(directory).expanduser()).directory
        self._files = RunFiles(self.directory)

    @property
    def name(self) -> str:
        """`<project>/<name>`."""
        return find_run(self.directory).name

    @property
    def status(self) -> str:
        """`running`, `finished`, `interrupted`, `failed`, `killed` or `damaged`."""
        return find_run(self.directory).status

    @property
    def config(self) -> dict[str, Any]:
        """`config.yaml` as it is nested; keys are those of docs/configuration.md."""
        try:
            tree = yaml.safe_load((self.directory / CONFIG_FILE).read_bytes())
        except (OSError, yaml.YAMLError) as error:
            raise InputError(f"{self.directory / CONFIG_FILE} cannot be read: {error}.") from error
        return dict(tree)

    def metrics(self) -> pandas.DataFrame:
        """The metrics of training: a row a step (its index), a column a key of docs/metrics.md."""
        return _frame([r for r in self._files.records() if not _is_evaluation(r)], ["step"])

    def evaluations(self) -> pandas.DataFrame:
        """Those of evaluations: a row for each set after each step, columns without `eval/<set>/`;
        the index is (`set`, `step`)."""
        rows = []
        for record in self._files.records():
            by_set: dict[str, dict[str, Any]] = {}
            for key, value in record.items():
                if key.startswith("eval/"):
                    # Neither a set's name nor a key's first part is known: reward/, rollout/, ...
                    name, metric = _set_and_metric(key)
                    by_set.setdefault(name, {})[metric] = value
            rows += [{"set": name, "step": record["step"], **of} for name, of in by_set.items()]
        return _frame(rows, ["set", "step"])

    def rollouts(self, step: int | None = None, set: str | None = None) -> pandas.DataFrame:
        """A row a rollout: what the index says of it (docs/run_directory.md).

        Args:
            step: only this step's; with their `response`, `explanation` and the workflow's and
                judge's metrics, which are read from the step's file. None: all steps, without.
            set: rollouts of this evaluation set; None: training's.
        """
        table = self._files.table
        table.refresh()
        wanted = table.columns["set"] == table.code("set", set)
        if step is not None:
            wanted &= table.columns["step"] == step
        rows = np.flatnonzero(wanted).tolist()
        lines = table.lines(rows) if rows else []
        if step is not None and rows:
            stored = self._files.stored(rows)
            lines = [line | _content(content) for line, content in zip(lines, stored, strict=True)]
        places = ("file", "offset", "length", "line")
        return _frame([{k: v for k, v in line.items() if k not in places} for line in lines], [])

    def rollout(self, id: str) -> Rollout:
        """One rollout with all its calls and tokens. Raises InputError if there is none."""
        table = self._files.table
        table.refresh()
        for row, line in enumerate(table.lines(range(len(table))) if len(table) else ()):
            if line["id"] == id:
                [stored] = self._files.stored([row])
                return rollout_of(stored)
        raise InputError(f"{self.directory} has no rollout {id!r}.")

    def diagnose(self) -> list[Finding]:
        """What is wrong with the run, the gravest first (docs/diagnosis.md)."""
        return diagnose(self._files, over=self.status != "running")

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r})"

    def _repr_html_(self) -> str:
        row = find_run(self.directory)
        best = ", ".join(
            f"{name} {value:.3f} at {step}" for name, (value, step) in row.best.items()
        )
        steps = f"{row.step}/{'?' if row.total_steps is None else row.total_steps}"
        items = [_text("li", " ".join(finding.lines())) for finding in self.diagnose()]
        return (
            f"<div><b>{_escaped(row.name)}</b> {row.status}, step {steps}"
            f"{_escaped(f'; best: {best}' if best else '')}"
            f"{_picture(curve_of(self._files.records()))}<ul>{''.join(items)}</ul></div>"
        )


def _is_evaluation(record: dict[str, float]) -> bool:
    return all(key.startswith(("eval/", "step")) for key in record)


def _set_and_metric(key: str) -> tuple[str, str]:
    parts = key.removeprefix("eval/").split("/")
    kinds = ("reward", "rollout", "group", "workflow", "judge", "time")
    for at, part in enumerate(parts[1:], 1):
        if part in kinds or part.startswith("pass@"):
            return "/".join(parts[:at]), "/".join(parts[at:])
    return parts[0], "/".join(parts[1:])


def _content(stored: dict[str, Any]) -> dict[str, Any]:
    explanation = stored.get("explanation", "")
    return {"response": answer(stored), "explanation": explanation, **stored["metrics"]}


def _frame(rows: list[dict[str, Any]], index: list[str]) -> pandas.DataFrame:
    import pandas

    frame = pandas.DataFrame(rows, columns=None if rows else index)
    return frame.set_index(index) if index else frame


def _escaped(text: str) -> str:
    return html.escape(visible(text))


def _text(tag: str, text: str) -> str:
    return f"<{tag}>{_escaped(text)}</{tag}>"


def _picture(curve: Curve) -> str:
    """The curve as a small drawing, its numbers beside it."""
    known = [(step, v) for step, v in zip(curve.steps, curve.values, strict=True) if v == v]
    if len(known) < 2:
        return ""
    (first, _), (last, _) = known[0], known[-1]
    low, high = min(v for _, v in known), max(v for _, v in known)
    points = " ".join(
        f"{300 * (step - first) / (last - first):.1f},"
        f"{60 - 60 * (value - low) / ((high - low) or 1):.1f}"
        for step, value in known
    )
    ends = f"{known[0][1]:.3f} to {known[-1][1]:.3f}"
    said = f"{curve.metric} {ends} (lowest {low:.3f}, highest {high:.3f})"
    return (
        f'<p><svg width="304" height="64" viewBox="-2 -2 304 64" role="img" aria-label="{said}">'
        f'<polyline points="{points}" fill="none" stroke="#1565c0" stroke-width="2"/></svg>'
        f"<br>{said}</p>"
    )
