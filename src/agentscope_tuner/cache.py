"""Where things are kept that are made once and used by every run."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """`$ASTUNER_CACHE`, else `agentscope-tuner` in the user's cache directory."""
    if own := os.environ.get("ASTUNER_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "agentscope-tuner"
