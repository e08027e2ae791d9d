"""The processes of a cluster's actors on this machine, which Ray names by their class."""

from __future__ import annotations

import psutil


def actors(kind: str) -> list[psutil.Process]:
    """Those of the actors of this class."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(part.startswith(f"ray::{kind}") for part in process.info["cmdline"] or ())
    ]
