"""Seeing what a process writes, at the moment it does: the kernel's inotify, by its C functions."""

from __future__ import annotations

import ctypes
import os
import select
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

_MODIFY, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x80, 0x100, 0x200
_IS_DIRECTORY = 0x40000000
_VERBS = {_MODIFY: "write", _MOVED_TO: "rename", _CREATE: "create", _DELETE: "delete"}
_HEADER = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Everything that happens below a directory, which has to be there, while the block runs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._watched: dict[int, Path] = {}

    def __enter__(self) -> Watch:
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        for _ in self._add(self._directory):
            pass
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def events(self, timeout_s: float) -> Iterator[str]:
        """What happened since the last call, as `create rollouts/step_1.jsonl.zst.tmp`, after
        waiting for at most `timeout_s` if that is nothing."""
        if not select.select([self._descriptor], [], [], timeout_s)[0]:
            return
        content = os.read(self._descriptor, 1 << 16)
        while content:
            watched, mask, _, length = _HEADER.unpack_from(content)
            name = content[_HEADER.size : _HEADER.size + length].rstrip(b"\0").decode()
            content = content[_HEADER.size + length :]
            verb = next((text for bit, text in _VERBS.items() if mask & bit), None)
            if verb is None or watched not in self._watched:
                continue
            path = self._watched[watched] / name
            yield self._event(verb, path)
            if verb == "create" and mask & _IS_DIRECTORY:
                yield from self._add(path)

    def _add(self, directory: Path) -> Iterator[str]:
        """Watch a directory too; yields what was written to it before that."""
        mask = _MODIFY | _MOVED_TO | _CREATE | _DELETE
        watched = _libc.inotify_add_watch(self._descriptor, os.fsencode(directory), mask)
        if watched < 0:
            return  # gone already
        self._watched[watched] = directory
        for path in directory.iterdir() if directory.is_dir() else ():
            yield self._event("create", path)
            if path.is_dir():
                yield from self._add(path)

    def _event(self, verb: str, path: Path) -> str:
        return f"{verb} {path.relative_to(self._directory)}"
