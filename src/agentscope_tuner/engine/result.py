"""What came of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What `tune()` returns."""

    run_directory: Path
    metrics: dict[str, float]
    """The last value of every metric, evaluations included."""
    checkpoint: Path | None
    """The last complete checkpoint: a Hugging Face model directory."""
    finished: bool
    """False if the run was stopped before its last step; it can be resumed."""
