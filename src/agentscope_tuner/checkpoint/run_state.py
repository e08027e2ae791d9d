"""`run_state.json`: how far a run is and how it ended, for those who look at runs from outside."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from agentscope_tuner.checkpoint.durable import write_atomically
from agentscope_tuner.errors import InputError

RunStatus = Literal["running", "finished", "interrupted", "failed"]
"""`running` in the file of a run that nobody holds the lock of: it was killed."""

FILE_NAME = "run_state.json"


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands."""

    status: RunStatus
    step: int
    """Updates done."""
    total_steps: int

    def save(self, run_directory: Path) -> None:
        """Replace the run's `run_state.json`."""
        write_atomically(run_directory / FILE_NAME, json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, run_directory: Path) -> RunState | None:
        """Read the run's state; None if `run_directory` holds no run.

        Raises:
            InputError: the file is not one that `save` wrote.
        """
        path = run_directory / FILE_NAME
        if not path.exists():
            return None
        try:
            return cls(**json.loads(path.read_bytes()))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path} is not the state of a run: {error}.") from error
