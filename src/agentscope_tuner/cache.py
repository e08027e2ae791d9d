"""Where things are kept that are made once and used by every run."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_directory() -> Path:
    """`$ASTUNER_CACHE`, else `agentscope-tuner` where the system has users' caches."""
    if own := os.environ.get("ASTUNER_CACHE"):
        return Path(own).expanduser()
    return user_cache_path("agentscope-tuner", appauthor=False)
