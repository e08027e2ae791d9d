"""Numbers of the files' formats. A file of a newer one is refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentscope_tuner.errors import InputError

ROLLOUTS = 2
"""1: a file is one frame, numbers are JSON lists (and no number stands in the file)."""
INDEX = 1
IDENTITY = 1
LIVE = 1

METRICS = 1
CONFIG = 1
"""These two files cannot carry a number themselves; `versions.json` has them."""


def refuse_newer(path: Path, found: Any, known: int) -> None:
    """Raise InputError if `path` is of a format that this version does not know."""
    if not isinstance(found, int) or found > known:
        raise InputError(
            f"{path} was written by a newer agentscope-tuner (format {found}; this one reads up to "
            f"{known}): update agentscope-tuner to look at it."
        )
