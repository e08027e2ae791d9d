"""Telling a full disk from other failures, whoever met it."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from agentscope_tuner.errors import RunError

_ERRNOS = {errno.ENOSPC, errno.EDQUOT}
_TEXTS = re.compile(
    r"\(os error 28\)|\[Errno (28|122)\]|Not enough free space to write"
    r"|\d requested and \d+ written"
)
"""What safetensors, shutil and numpy make of these numbers: they pass them on as text only."""


def is_disk_full(error: BaseException) -> bool:
    """Whether `error`, or what it came from, says that no more could be written."""
    return any(
        (isinstance(link, OSError) and link.errno in _ERRNOS) or _TEXTS.search(str(link))
        for link in _chain(error)
    )


def disk_full_error(target: Path, partial: Path | None, earlier: list[Path]) -> RunError:
    """The error that says what could not be written, what is left, and what is intact.

    Args:
        target: what was being written, or the directory it was to go to.
        partial: what was written of a checkpoint so far, not yet removed; None: it was none.
        earlier: the checkpoints that are there, oldest first.
    """
    free = shutil.disk_usage(target.parent).free
    takes = ""
    if partial is not None:
        written = _size(partial)
        free += written
        if earlier:
            takes = f" takes about {max(written, _size(earlier[-1])) / 1e6:,.0f} MB and"
    kept = (
        f"the last good checkpoint, {earlier[-1].name}, is intact"
        if earlier
        else "there is no checkpoint yet"
    )
    return RunError(
        f"The disk is full: writing {target}{takes} found {free / 1e6:,.0f} MB free; {kept}. "
        "Free some space and resume the run."
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
