"""Seeds for the parts of a run, derived from the run's own so that no two runs share a stream."""

from __future__ import annotations

import hashlib


def derived_seed(seed: int, *path: str | int) -> int:
    """A seed below 2^63 for what `path` names; the same for the same arguments, anywhere."""
    text = "/".join(map(str, (seed, *path)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
