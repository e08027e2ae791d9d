"""The run directory of a prompt's tuning: what was proposed and tried, so that it can go on."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentscope_tuner.errors import InputError
from agentscope_tuner.runs.writer import RolloutWriter
from agentscope_tuner.trajectory import RolloutGroup

SETTINGS, PROPOSALS, TRIALS = "prompt_run.json", "proposals.jsonl", "trials.jsonl"


class PromptRun:
    """Proposals and trials on disk, by what they are of: done once, they are read and not redone.

    prompt_run.json         what the run was begun with
    proposals.jsonl         {"round", "number", "prompt", "origin"}
    trials.jsonl            {"prompt", "set", "task", "reward", "response", "error"}
    rollouts/               every trial, as `tune()` writes its rollouts
    metrics.jsonl           a line a round
    prompt.txt              the best prompt
    """

    def __init__(self, directory: Path, settings: dict[str, Any], resume: bool) -> None:
        """Open a directory. Raises InputError: it has a run already (without `resume`), or one that
        was begun with other settings."""
        self.directory = directory
        begun = directory / SETTINGS
        if begun.exists():
            if not resume:
                raise InputError(
                    f"There is a run in {directory} already: give resume=True to go on with it, or "
                    "another experiment_name."
                )
            before = json.loads(begun.read_text(encoding="utf-8"))
            if changed := sorted(key for key in settings if settings[key] != before.get(key)):
                raise InputError(
                    f"The run in {directory} was begun with another {', '.join(changed)}."
                )
        directory.mkdir(parents=True, exist_ok=True)
        begun.write_text(json.dumps(settings, indent=1, ensure_ascii=False), encoding="utf-8")
        self._proposals = {
            (line["round"], line["number"]): line for line in _lines(directory / PROPOSALS)
        }
        self._trials = {
            (line["prompt"], line["set"], line["task"]): line for line in _lines(directory / TRIALS)
        }
        self._writer = RolloutWriter(directory)
        self._writer.begin(None)
        (directory / "metrics.jsonl").unlink(missing_ok=True)
        self._step = 0

    def proposal(self, round_: int, number: int) -> str | None:
        """What was proposed there, if it was (empty: the model wrote none)."""
        line = self._proposals.get((round_, number))
        return None if line is None else line["prompt"]

    def propose(self, round_: int, number: int, prompt: str, origin: str) -> None:
        """Keep a proposal."""
        line = {"round": round_, "number": number, "prompt": prompt, "origin": origin}
        self._proposals[round_, number] = line
        _append(self.directory / PROPOSALS, [line])

    def trial(self, prompt: str, dataset: str, task: int) -> dict[str, Any] | None:
        """What came of a prompt on a task, if it was tried."""
        return self._trials.get((prompt, dataset, task))

    def tried(self, lines: Sequence[dict[str, Any]]) -> None:
        """Keep trials."""
        self._trials |= {(one["prompt"], one["set"], one["task"]): one for one in lines}
        _append(self.directory / TRIALS, lines)

    def step(self, groups: Sequence[RolloutGroup], metrics: dict[str, float]) -> None:
        """Write a round: its rollouts, and a line of metrics."""
        self._step += 1
        self._writer.write(self._step, groups, None)
        _append(self.directory / "metrics.jsonl", [{"step": self._step, **metrics}])

    def end(self, prompt: str, metrics: dict[str, float]) -> None:
        """Write the result."""
        self._writer.close()
        (self.directory / "prompt.txt").write_text(prompt, encoding="utf-8")
        _append(self.directory / "metrics.jsonl", [{"step": self._step, **metrics}])


def _append(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file; a killed run may have left half of its last."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]
