"""An exclusive lock on a file, for this process alone, that the system drops when it dies.

A lock belongs to the opened file, and a forked child shares that with its parent: it would hold the
lock of a dead one. So a child closes its copy before it does anything else, and programs that are
executed never get one (Python opens files so that they are closed then).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    _FAR_BYTE = 1 << 30
    """Windows keeps others from reading what is locked, so this is none of the content."""

    def _try_lock(descriptor: int, exclusive: bool) -> bool:
        os.lseek(descriptor, _FAR_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int, exclusive: bool) -> bool:
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


_open: set[int] = set()
"""Descriptors of this process that hold a lock, or are about to."""


def _close_inherited() -> None:
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


class FileLock:
    """The lock of one file. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Create the file if need be and lock it; False if another holds it.

        Raises OSError: the file cannot be opened or created.
        """
        return self._lock(os.O_RDWR | os.O_CREAT, exclusive=True)

    def is_held(self) -> bool:
        """Whether anybody holds the lock of the file, which has to be there."""
        free = self._lock(os.O_RDWR if sys.platform == "win32" else os.O_RDONLY, exclusive=False)
        self.release()
        return not free

    def holds_its_path(self) -> bool:
        """Whether what is locked still lies at its path: it may have been deleted, or replaced."""
        assert self._descriptor is not None
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except OSError:
            return False

    def write(self, content: bytes) -> None:
        """Replace the content of the locked file."""
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, content)

    def release(self) -> None:
        """Give the lock back; nothing happens in a forked child, which never had it."""
        if self._descriptor in _open:
            _open.remove(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = None

    def _lock(self, flags: int, exclusive: bool) -> bool:
        while True:
            descriptor = os.open(self._path, flags, 0o644)
            _open.add(descriptor)
            self._descriptor = descriptor
            if not _try_lock(descriptor, exclusive):
                self.release()
                return False
            if self.holds_its_path():
                return True
            # Its last holder removed the file between our opening and locking it.
            self.release()
