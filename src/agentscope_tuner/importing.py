"""Importing what is heavy in less time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_HEAVY = 100_000
"""Objects that a block has made; what imports little does not come near it."""


@contextmanager
def without_collection() -> Iterator[None]:
    """No garbage collection in the block, which imports, and none of what it has imported later.

    torch, transformers and agentscope make a million objects that stay, and looking through them
    takes half a second each time, in the block and in what is done after it.
    A block that imported next to nothing, as for the second run of a process, leaves later
    collections as they are: what the first run has left behind is to be found.
    """
    if not gc.isenabled():  # in a block of this kind, or as the program wants it
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if gc.get_count()[0] > _HEAVY:
            gc.freeze()
        gc.enable()
