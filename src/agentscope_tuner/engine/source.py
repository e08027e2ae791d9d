"""What `astuner evaluate --model` and `astuner export` may be given, as the model that it means.

a run directory           its newest whole checkpoint
a `global_step_<n>`       that checkpoint, if it is whole
anything else             a model, as `model_path` takes one
"""

from __future__ import annotations

from pathlib import Path

from agentscope_tuner.checkpoint.run_state import FILE_NAME as STATE_FILE
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.errors import InputError

TUNER_STATE = "tuner_state"


def find_source(given: str) -> str:
    """The model path that `given` means.

    Raises InputError: a run without a whole checkpoint, or a damaged checkpoint.
    """
    directory = Path(given).expanduser()
    store = CheckpointStore(directory)
    if (directory / STATE_FILE).exists() or store.steps():
        checkpoint = store.latest()
        if checkpoint is None:
            raise InputError(
                f"The run {directory} has no whole checkpoint."
                if store.steps()
                else f"The run {directory} has no checkpoint yet."
            )
        return str(checkpoint)
    if (directory / TUNER_STATE).is_dir():
        problems = CheckpointStore(directory.parent).verify(directory)
        if problems:
            raise InputError(f"The checkpoint {directory} is damaged: {'; '.join(problems)}.")
    return given


def short_name(given: str, source: str) -> str:
    """What a table calls the model: a path's last two parts, or what was given."""
    path = Path(source)
    return "/".join(path.parts[-2:]) if path.is_dir() else given
