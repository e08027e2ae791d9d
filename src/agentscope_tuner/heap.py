"""How this process holds on to memory, where the allocator is glibc's; elsewhere, nothing."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8
_MOST_MAPPED = 65536
"""Blocks that may be mapped by themselves, as glibc has it."""
_LARGE_BYTES = 2**24
"""Below it is what a sampler makes at every step."""


def share_heap() -> None:
    """Let all threads allocate from one heap; to be called before there are other threads.

    By default threads get heaps of their own, which consist of parts of 64 MB: a learner in a
    thread of its own leaves holes in them that nothing fits into, and takes gigabytes more with
    every step.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def keep_freed_memory() -> None:
    """Let the allocator reuse freed memory instead of giving it back.

    An update frees and asks again for gigabytes of activations. By default each large one is mapped
    anew and zeroed by the kernel page by page, which costs a fifth to a third of a step's time.
    What is kept is given back when the learner ends (`give_back_freed_memory`).
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)  # never
    share_heap()


def give_back_freed_memory() -> None:
    """End what `keep_freed_memory` began for what is free now."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def map_large_blocks() -> None:
    """Give back what is free now, and until the next `keep_freed_memory` let large blocks be mapped
    by themselves, and so be given back at once.

    Among what a learner has freed and kept, small blocks that stay break up the place of large ones
    that come and go, and the heap grows by each of these: by 8 GB when the merged weights of 1.7B
    were saved.
    """
    give_back_freed_memory()
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_MMAP_MAX, _MOST_MAPPED)


def _of_glibc(name: str) -> Callable[..., int] | None:
    """The allocator's function, where there is one of this name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
