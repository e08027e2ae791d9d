"""`run_state.json`: how far a run is and how it ended, for those who look at runs from outside."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from agentscope_tuner.checkpoint.disk_full import is_disk_full
from agentscope_tuner.checkpoint.durable import overwrite, write_atomically
from agentscope_tuner.errors import InputError

RunStatus = Literal["running", "finished", "interrupted", "failed"]
"""`running` in the file of a run that nobody holds the lock of: it was killed."""

FILE_NAME = "run_state.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands."""

    status: RunStatus
    step: int
    """Updates done."""
    total_steps: int

    def save(self, run_directory: Path) -> None:
        """Replace the run's `run_state.json`; on a full disk too, if it is there."""
        path = run_directory / FILE_NAME
        content = json.dumps({"format": FORMAT, **asdict(self)}).encode()
        try:
            write_atomically(path, content)
        except OSError as error:
            if not is_disk_full(error) or not path.exists():
                raise
            overwrite(path, content)

    @classmethod
    def load(cls, run_directory: Path) -> RunState | None:
        """Read the run's state; None if `run_directory` holds no run.

        Raises:
            InputError: the file is not one that `save` wrote, or a newer version wrote it.
        """
        path = run_directory / FILE_NAME
        if not path.exists():
            return None
        try:
            fields = json.loads(path.read_bytes())
            if fields.pop("format", FORMAT) > FORMAT:
                raise InputError(
                    f"{path} was written by a newer agentscope-tuner: update agentscope-tuner to "
                    "use this run."
                )
            state = cls(**fields)
        except InputError:
            raise
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is not the state of a run: {error}.") from error
        counts = (state.step, state.total_steps)
        if state.status not in get_args(RunStatus) or any(
            type(count) is not int for count in counts
        ):
            raise InputError(f"{path} is not the state of a run: it says {asdict(state)}.")
        return state
