"""OpenMP's worker threads, when several threads of a process compute in turn."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

HARD = 2
"""`omp_pause_hard` of OpenMP 5: give the resources back now; they come anew when needed."""


def release_threads() -> None:
    """End the workers that OpenMP keeps for the calling thread.

    To be called by a thread that has computed and now leaves the processor to others. Every thread
    that computes gets workers of its own, which stay. As soon as all of them together are more than
    the processors, GNU OpenMP no longer spins between two parallel sections but sleeps, and a
    decoding step, which has hundreds of sections, takes a quarter longer. Getting new workers takes
    a tenth of a millisecond.
    """
    pause = _pause()
    if pause is not None:
        pause(HARD)


@functools.cache
def _pause() -> Callable[[int], int] | None:
    if sys.platform == "win32":
        return None
    return getattr(ctypes.CDLL(None), "omp_pause_resource_all", None)
