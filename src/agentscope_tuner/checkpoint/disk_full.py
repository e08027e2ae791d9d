"""Telling a full disk from other failures, whoever met it."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from agentscope_tuner.errors import RunError

_ERRNOS = {errno.ENOSPC, errno.EDQUOT}


def is_disk_full(error: BaseException) -> bool:
    """Whether `error`, or what it came from, says that no more could be written.

    safetensors passes the system's error on as text only.
    """
    return any(
        (isinstance(link, OSError) and link.errno in _ERRNOS) or "(os error 28)" in str(link)
        for link in _chain(error)
    )


def disk_full_error(target: Path, partial: Path, earlier: list[Path]) -> RunError:
    """The error that says what was to be written where, what it takes, and what is left.

    Args:
        target: the checkpoint that could not be written.
        partial: what was written of it, not yet removed.
        earlier: the checkpoints that are there, oldest first.
    """
    written = _size(partial)
    needed = max([written, *(_size(path) for path in earlier[-1:])])
    free = shutil.disk_usage(target.parent).free + written
    kept = f"the last good one, {earlier[-1].name}, is intact" if earlier else "there is none yet"
    return RunError(
        f"The disk is full: checkpoint {target} takes at least {needed / 1e6:,.0f} MB and "
        f"{free / 1e6:,.0f} MB are free; {kept}. Free some space and resume the run."
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
