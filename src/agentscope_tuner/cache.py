"""Where things are kept that are made once and used by every run."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

_UNFINISHED = ".unfinished-"
_SURELY_LEFT_S = 24 * 3600.0
"""After this nobody is still making it."""


def cache_directory() -> Path:
    """`$ASTUNER_CACHE`, else `agentscope-tuner` where the system has users' caches."""
    if own := os.environ.get("ASTUNER_CACHE"):
        return Path(own).expanduser()
    return user_cache_path("agentscope-tuner", appauthor=False)


@dataclass(frozen=True, slots=True)
class Shelf:
    """One directory of the cache, and the names of what is in it."""

    name: str
    form: str
    """Of a thing's name: `{digest}`, and `{stem}` where it has a name of its own besides."""
    digits: int = 12
    """Of the digest, which is hexadecimal."""

    @property
    def directory(self) -> Path:
        """Where it is; perhaps not made yet."""
        return cache_directory() / self.name

    def place(self, digest: str, stem: str = "") -> Path:
        """Where that is kept which is made of what has this digest."""
        return self.directory / self.form.format(digest=digest[: self.digits], stem=stem)

    @contextmanager
    def workshop(self) -> Iterator[Path]:
        """A directory to make something in. What is whole is moved from there to its place, so that
        it is there as a whole or not at all; what is left is removed."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=self.directory) as made:
            yield Path(made)

    def holds(self, path: Path) -> bool:
        """Whether something in the directory was put there by us, or left by a process of ours that
        was killed."""
        if path.name.startswith(_UNFINISHED):
            return time.time() - path.stat().st_mtime > _SURELY_LEFT_S
        known = {"digest": f"[0-9a-f]{{{self.digits}}}", "stem": "[^.].*"}
        form = re.escape(self.form).replace(r"\{", "{").replace(r"\}", "}")
        return re.fullmatch(form.format(**known), path.name) is not None


KERNELS = Shelf("kernels", "native-{digest}.so")
MODELS = Shelf("models", "{stem}-{digest}")
DATASETS = Shelf("datasets", "{digest}.parquet", digits=16)
SHELVES = (KERNELS, MODELS, DATASETS)


@dataclass(frozen=True, slots=True)
class Kept:
    """One thing in the cache."""

    name: str
    """`<directory>/<name>`."""
    path: Path
    size: int
    """Bytes."""
    changed: float
    """When it was made, in Unix seconds."""


def kept() -> list[Kept]:
    """What is in the cache and was put there by us, the largest first."""
    return sorted(_ours(), key=lambda one: (-one.size, one.name))


def _ours() -> Iterator[Kept]:
    for shelf in SHELVES:
        for path in shelf.directory.iterdir() if shelf.directory.is_dir() else ():
            if not path.is_symlink() and shelf.holds(path):
                name = f"{shelf.name}/{path.name}"
                yield Kept(name, path, _size(path), path.stat().st_mtime)


def _size(path: Path) -> int:
    parts = path.rglob("*") if path.is_dir() else [path]
    return sum(part.lstat().st_size for part in parts if not part.is_dir())
