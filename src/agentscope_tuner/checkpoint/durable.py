"""Writing to disk so that a crash or a power cut leaves the old or the new, never half of it.

A file's content is safe after `fsync` on it, its name only after `fsync` on the directory that
holds it; `os.replace` changes from the old to the new in one step.
"""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file `path` by `content`, durably and in one step."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)


def sync_tree(root: Path) -> None:
    """Wait until every file and directory below and including `root` is on disk."""
    for directory, _, names in os.walk(root, topdown=False):
        for name in names:
            _sync(Path(directory, name), os.O_RDONLY)
        sync_directory(Path(directory))


def sync_directory(path: Path) -> None:
    """Wait until the names in the directory `path` are on disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
