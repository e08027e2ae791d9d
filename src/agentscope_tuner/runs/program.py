"""Which state of the user's own code a run was made by, as git knows it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

_PATIENCE_S = 5.0


def commit_of(directory: Path) -> dict[str, Any] | None:
    """The `commit` that is checked out in `directory`, and whether files that git knows were
    `changed` since; None: there is no repository, or no git."""
    commit = _git(directory, "rev-parse", "HEAD")
    changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
    return None if not commit or changes is None else {"commit": commit, "changed": changes != ""}


def _git(directory: Path, *command: str) -> str | None:
    # Without optional locks: it only looks, and another git may be at work.
    asked = ["git", "--no-optional-locks", "-C", str(directory), *command]
    try:
        done = subprocess.run(asked, capture_output=True, timeout=_PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()
