"""Writing to disk so that a crash or a power cut leaves the old or the new, never half of it.

A file's content is safe after `fsync` on it, its name only after `fsync` on the directory that
holds it; `os.replace` changes from the old to the new in one step.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file `path` by `content`, durably and in one step."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # on a full disk its bytes are missed elsewhere
        raise
    sync_directory(path.parent)


def clear_halves(directory: Path) -> None:
    """Remove what killed processes have left of files that they were replacing in `directory`."""
    for path in directory.glob(".*.tmp-*"):
        if path.is_file():
            path.unlink()


def overwrite(path: Path, content: bytes) -> None:
    """Replace the content of a small file where it lies, which a full disk has room for.

    The end is filled up with blanks to the old length, so that one write within a block does it.
    """
    with path.open("r+b", buffering=0) as file:
        file.write(content.ljust(os.fstat(file.fileno()).st_size))
        os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Remove a file or a whole directory; of a link only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def sync_tree(root: Path) -> None:
    """Wait until every file and directory below and including `root` is on disk."""
    for directory, _, names in os.walk(root, topdown=False):
        for name in names:
            _sync(Path(directory, name), os.O_RDONLY)
        sync_directory(Path(directory))


def sync_directory(path: Path) -> None:
    """Wait until the names in the directory `path` are on disk."""
    if os.name != "nt":  # Windows opens no directories, and keeps their names by itself
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
