"""One writer a run: a lock on its directory, and who holds it."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType

import psutil

from agentscope_tuner.checkpoint.file_lock import FileLock
from agentscope_tuner.errors import InputError, RunError

_FILE_NAME = ".lock"
_PATIENCE_S = 1.0
"""A writer that was killed a moment ago may not be gone yet."""
_CLOCK_S = 2.0
"""How far two readings of one process' start may differ."""


@dataclass(frozen=True, slots=True)
class Writer:
    """The process that writes a run, as it says in `.lock`."""

    pid: int
    started: float
    """When the process began, in seconds since the epoch: its number may be given again."""
    host: str
    since: str
    """When it took the lock, in local time."""

    @classmethod
    def this_process(cls) -> Writer:
        started = psutil.Process().create_time()
        return cls(
            os.getpid(), started, socket.gethostname(), f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        )

    @classmethod
    def of(cls, run_directory: Path) -> Writer | None:
        """Who has written the run last; None if that cannot be read."""
        try:
            said = json.loads(_lock_path(run_directory).read_bytes())
            return cls(int(said["pid"]), float(said["started"]), said["host"], said["since"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs; on another machine it is taken to."""
        if self.host != socket.gethostname():
            return True
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started) < _CLOCK_S
        except psutil.NoSuchProcess:
            return False


class RunLock:
    """Holds a run directory, which is made if need be, for this process while the block runs.

    A directory that has nothing but the lock in the end is removed again, and those above it that
    were made for it: the start of the run was refused.

    Raises:
        InputError: another process is writing the run (the message names it), or the directory
            cannot be written.
    """

    def __init__(self, run_directory: Path) -> None:
        self._directory = run_directory
        self._lock = FileLock(_lock_path(run_directory))
        self._made: list[Path] = []

    def __enter__(self) -> RunLock:
        try:
            self._acquire()
            self._lock.write(json.dumps(asdict(Writer.this_process())).encode())
        except OSError as error:
            self._lock.release()
            raise InputError(
                f"The run directory {self._directory} cannot be written: {error.strerror}."
            ) from error
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        alone = [path.name for path in self._directory.glob("*")] == [_FILE_NAME]
        if alone and self._lock.holds_its_path():  # not in a forked child, which holds none
            _lock_path(self._directory).unlink(missing_ok=True)
            with suppress(OSError):  # another run has begun beside it meanwhile
                for directory in self._made:
                    directory.rmdir()
        self._lock.release()

    def refuse_lost(self) -> None:
        """Raise RunError if the directory was deleted, or another lies in its place."""
        if not self._lock.holds_its_path():
            raise RunError(
                f"The run directory {self._directory} was deleted while the run was going on: "
                "nothing more can be written to it, so the run is over."
            )

    def _acquire(self) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        above = (self._directory, *self._directory.parents)
        self._made = [directory for directory in above if not directory.exists()]
        while not self._try():
            if time.monotonic() > deadline:
                raise InputError(f"The run {self._directory} {_why_held(self._directory)}")
            time.sleep(0.05)

    def _try(self) -> bool:
        self._directory.mkdir(parents=True, exist_ok=True)
        if not self._lock.acquire():
            return False
        if self._lock.holds_its_path():
            return True
        self._lock.release()  # of a start that was refused a moment ago, and has taken it away
        return False


def is_held(run_directory: Path) -> bool:
    """Whether a living process is writing the run."""
    path = _lock_path(run_directory)
    if not path.exists() or not FileLock(path).is_held():
        return False
    writer = Writer.of(run_directory)
    return writer is None or writer.is_alive


def _why_held(run_directory: Path) -> str:
    writer = Writer.of(run_directory)
    if writer is None:
        return "is being written by another process; wait for it, or choose another name."
    if writer.is_alive:
        return (
            f"is being written by process {writer.pid} on {writer.host} since {writer.since}; wait "
            "for it, stop it, or choose another name."
        )
    return (
        f"was being written by process {writer.pid}, which is dead, but one that it has started "
        f"keeps {_lock_path(run_directory)} open; end that one, or choose another name."
    )


def _lock_path(run_directory: Path) -> Path:
    return run_directory / _FILE_NAME
