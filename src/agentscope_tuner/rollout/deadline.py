"""A deadline that really ends a rollout.

An AgentScope agent turns `CancelledError` into a polite reply and its workflow goes on, so that
`asyncio.wait_for` never fires. Here the workflow runs in a task of its own, which at the deadline
loses its session (its later calls fail), is cancelled, is waited for a short while, and is then
left behind: whatever it still returns or raises is thrown away.

What holds the event loop without awaiting (a synchronous tool, a busy loop) cannot be interrupted
by anybody; the deadline fires when it lets go. Run such work with `asyncio.to_thread`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from agentscope_tuner.event_loop import users_context

GRACE_S = 1.0
"""How long a cancelled workflow is waited for."""
LONGEST_PAUSE_S = 60.0
"""One left behind is cancelled again after pauses that grow to this."""

logger = logging.getLogger(__name__)
T = TypeVar("T")


class DeadlineExceeded(Exception):
    """The deadline passed before the work was done."""


class SelfCancelled(Exception):
    """The work was cancelled, though nobody outside of it did so."""


async def run_until(
    work: Coroutine[Any, Any, T], *, timeout_s: float | None, close: Callable[[], None]
) -> T:
    """Run `work` for at most `timeout_s` seconds (None: without limit).

    `close` is called when the work is given up: at the deadline, or when the caller is cancelled.
    Raises DeadlineExceeded, SelfCancelled, or what `work` raised.
    """
    task = asyncio.get_running_loop().create_task(work, context=users_context())
    try:
        await asyncio.wait({task}, timeout=timeout_s)
        if not task.done():
            raise DeadlineExceeded
        if task.cancelled():
            raise SelfCancelled
        return task.result()
    finally:
        if task.done():
            _discard(task)  # the caller may have been cancelled in the same moment
        else:
            close()
            task.add_done_callback(_discard)
            _keep_cancelling(task)
            await asyncio.wait({task}, timeout=GRACE_S)


def _keep_cancelling(task: asyncio.Task[Any], pause_s: float = GRACE_S) -> None:
    """Cancel until it ends: a task that swallows one cancellation meets the next at a later await.

    The timer also holds the only reference to the task that is left.
    """
    if not task.done():
        task.cancel()
        longer_s = min(2 * pause_s, LONGEST_PAUSE_S)
        task.get_loop().call_later(pause_s, _keep_cancelling, task, longer_s)


def _discard(task: asyncio.Task[Any]) -> None:
    """Look at the task's exception, so that asyncio does not complain that nobody did."""
    if not task.cancelled() and task.exception() is not None:
        logger.debug("The work ended with %r", task.exception())
