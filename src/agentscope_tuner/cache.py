"""Where things are kept that are made once and used by every run."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

MADE = {
    "kernels": r"native-[0-9a-f]{12}\.so",
    "models": r"[^.].*-[0-9a-f]{12}",
    "datasets": r"[0-9a-f]{16}\.parquet",
}
"""What is kept, by its directory: names as our code gives them."""
UNFINISHED = {
    "kernels": r"tmp\w{8}",
    "models": r"\..+-[0-9a-f]{12}-\w{8}",
    "datasets": r"tmp\w{8}\.parquet",
}
"""What processes that were killed have left of it."""
_SURELY_LEFT_S = 24 * 3600.0
"""After this nobody is still making it."""


def cache_directory() -> Path:
    """`$ASTUNER_CACHE`, else `agentscope-tuner` where the system has users' caches."""
    if own := os.environ.get("ASTUNER_CACHE"):
        return Path(own).expanduser()
    return user_cache_path("agentscope-tuner", appauthor=False)


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
    for directory in MADE:
        place = cache_directory() / directory
        for path in place.iterdir() if place.is_dir() else ():
            if path.is_symlink():
                continue
            changed = path.stat().st_mtime
            left = time.time() - changed > _SURELY_LEFT_S
            if re.fullmatch(MADE[directory], path.name) or (
                left and re.fullmatch(UNFINISHED[directory], path.name)
            ):
                yield Kept(f"{directory}/{path.name}", path, _size(path), changed)


def _size(path: Path) -> int:
    parts = path.rglob("*") if path.is_dir() else [path]
    return sum(part.lstat().st_size for part in parts if not part.is_dir())
