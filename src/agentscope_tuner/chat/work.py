"""Threads for what would stall the event loop: rendering, tokenising, checking grammars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from agentscope_tuner.executors import DaemonThreadPool

THREADS = 4
"""Requests prepared at once: a long one does not hold up the others."""

T = TypeVar("T")
_threads = DaemonThreadPool(THREADS, "chat")


async def off_loop(work: Callable[..., T], *args: Any) -> T:
    """The result of `work(*args)`; what has begun goes on when the awaiting task is cancelled."""
    return await _threads.run(work, *args)
