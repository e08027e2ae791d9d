"""The event loop of a run, which nothing that runs on it can end.

Workflows and judges share the loop with the run. What they await is guarded where they are called
(`rollout.boundary`); this module is about what they leave on the loop beside that: tasks, callbacks
and threads.

- `SystemExit` and `KeyboardInterrupt` out of a task or a callback stop a loop of asyncio. Here they
  are told, and the loop goes on; so it does after `loop.stop()`.
- `for task in asyncio.all_tasks(): task.cancel()` reaches the tasks of workflows, not the run's.
- `asyncio.to_thread` has threads of its own (`executors`), and enough of them.
- A task that swallows every cancellation is left behind in the end, not awaited for ever.

Ctrl-C is what it is under `asyncio.run`: the first cancels the run, a second interrupts at once. So
is SIGTERM in a process of the command line.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import logging
import signal
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

from agentscope_tuner.blocking import BlockWatch
from agentscope_tuner.executors import DaemonThreadPool
from agentscope_tuner.heap import share_heap
from agentscope_tuner.signals import RAISING, ended_by

USER_THREADS = 1024
"""Calls of `asyncio.to_thread` under way at once; more wait their turn."""

GRACE_S = 1.0
"""How long tasks that are cancelled at the end are waited for."""

_STOPPING = "A task or callback would have ended the run"

_SIGNALS_S = 0.1
"""How long a signal may wait for its handler."""
_KINDS_SHOWN = 20
"""Of stray exceptions; later kinds are logged at debug level, like repetitions."""

logger = logging.getLogger(__name__)
T = TypeVar("T")

_users: contextvars.ContextVar[bool] = contextvars.ContextVar("users", default=False)
"""Whether the code that runs is a workflow's or a judge's, or was started by one."""


def users_context() -> contextvars.Context:
    """The current context as a workflow's or a judge's: what starts in it is the user's."""
    context = contextvars.copy_context()
    context.run(_users.set, True)
    return context


def run_to_completion(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from synchronous code, in a notebook (whose loop runs already) too.

    Raises what `work` raises, KeyboardInterrupt if it was cancelled by Ctrl-C, and Terminated if by
    SIGTERM.
    """
    share_heap()  # from here on there are threads
    if not is_inside_a_loop():
        return _run(work)
    outcome: list[T] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(_run(work))
        except BaseException as error:  # handed to the caller's thread
            failure.append(error)

    thread = threading.Thread(target=target, name="tune")
    thread.start()
    # Handlers run in this thread alone, and a signal that comes to another one does not wake it.
    while thread.is_alive():
        thread.join(_SIGNALS_S)
    if failure:
        raise failure[0]
    return outcome[0]


def is_inside_a_loop() -> bool:
    """Whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, but for what this module is about."""
    loop = asyncio.new_event_loop()
    threads = DaemonThreadPool(USER_THREADS, "to_thread")
    strays = _StrayExceptions()
    watch = BlockWatch(loop)
    try:
        asyncio.set_event_loop(loop)
        loop.set_task_factory(_make_task)
        loop.set_exception_handler(strays)
        loop.set_default_executor(threads)
        main = loop.create_task(work)
        watch.start()
        with _interrupting(loop, main) as interrupts:
            _drive(loop, main, strays, interrupts)
        if main.cancelled() and interrupts:
            raise ended_by(interrupts[-1])
        return main.result()
    finally:
        watch.stop()
        _end(loop, strays)
        threads.shutdown(cancel_futures=True)
        asyncio.set_event_loop(None)
        loop.close()


def _drive(
    loop: asyncio.AbstractEventLoop,
    main: asyncio.Task[Any],
    strays: _StrayExceptions,
    interrupts: Sequence[int] = (),
) -> None:
    """Run the loop until `main` is done, whatever anything else on it raises."""
    while not main.done():
        try:
            loop.run_until_complete(main)
        except BaseException as error:
            if main.done():
                return  # with its own result
            if len(interrupts) > 1:
                raise
            # Not the loop's handler: a workflow may have set one that raises.
            strays(loop, {"message": _STOPPING, "exception": error})


class _OwnTask(asyncio.Task[Any]):
    """A task of the run, which no workflow can cancel."""

    def cancel(self, msg: Any | None = None) -> bool:
        return False if _users.get() else super().cancel(msg)


def _make_task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    context: contextvars.Context | None = options.get("context")
    users = _users.get() if context is None else context.get(_users, False)
    return (asyncio.Task if users else _OwnTask)(coro, loop=loop, **options)


class _StrayExceptions:
    """Told of exceptions that nobody awaited: each kind once, as many rollouts may repeat it."""

    def __init__(self) -> None:
        self._shown: set[tuple[str, str]] = set()

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        kind = context["message"], type(error).__qualname__
        if kind in self._shown or len(self._shown) >= _KINDS_SHOWN:
            logger.debug("%s: %s", *kind)
            return
        self._shown.add(kind)
        with suppress(BaseException):  # it shows tasks and exceptions, whose `__repr__` may raise
            loop.default_exception_handler(context)


@contextmanager
def _interrupting(loop: asyncio.AbstractEventLoop, main: asyncio.Task[Any]) -> Iterator[list[int]]:
    """Handle Ctrl-C and SIGTERM while the block runs, unless somebody else does; yields the numbers
    of those that came."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    raising = {n: handler for n, handler in RAISING.items() if signal.getsignal(n) is handler}

    def on_signal(number: int, frame: FrameType | None) -> None:
        came.append(number)
        # While a model is loaded, say: nothing is awaited that a cancellation would end.
        if len(came) > 1 or asyncio.current_task(loop) is main:
            raise ended_by(number)
        contextvars.Context().run(main.cancel)
        loop.call_soon_threadsafe(lambda: None)  # wakes it

    for number in raising:
        signal.signal(number, on_signal)
    try:
        yield came
    finally:
        for number, handler in raising.items():
            if signal.getsignal(number) is on_signal:
                signal.signal(number, handler)


def _end(loop: asyncio.AbstractEventLoop, strays: _StrayExceptions) -> None:
    """Cancel what is left on the loop, and leave behind what does not end."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    left |= {loop.create_task(loop.shutdown_asyncgens())}
    _drive(loop, loop.create_task(asyncio.wait(left, timeout=GRACE_S)), strays)
    immortal = [task for task in asyncio.all_tasks(loop) if not task.done()]
    if immortal:
        logger.warning("%d tasks swallowed their cancellation and are left behind", len(immortal))
    for task in immortal:
        # Never finalised: that would run the coroutine once more, and one that swallows everything
        # would then spin for ever, as nothing can be awaited any more.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
