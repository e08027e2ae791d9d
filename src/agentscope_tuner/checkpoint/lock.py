"""One writer a run: a lock that the system drops by itself when the process dies."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import IO

from agentscope_tuner.errors import InputError

_PATIENCE_S = 1.0
"""A writer that was killed a moment ago may not be gone yet."""


class RunLock:
    """Holds a run directory for this process while the `with` block runs.

    Raises:
        InputError: another process is writing the run (the message names it), or the directory
            cannot be written.
    """

    def __init__(self, run_directory: Path) -> None:
        self._directory = run_directory
        self._file: IO[str] | None = None

    def __enter__(self) -> RunLock:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            file = _lock_path(self._directory).open("a+")
        except OSError as error:
            raise InputError(
                f"The run directory {self._directory} cannot be written: {error.strerror}."
            ) from error
        deadline = time.monotonic() + _PATIENCE_S
        while not _try_lock(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                file.seek(0)
                writer = file.read()
                file.close()
                raise InputError(
                    f"The run {self._directory} is being written by process {writer}; "
                    "wait for it, stop it, or choose another name."
                )
            time.sleep(0.05)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._file is not None
        self._file.close()


def is_held(run_directory: Path) -> bool:
    """Whether a living process is writing the run."""
    path = _lock_path(run_directory)
    if not path.exists():
        return False
    with path.open() as file:
        return not _try_lock(file, fcntl.LOCK_SH)


def _lock_path(run_directory: Path) -> Path:
    return run_directory / ".lock"


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
