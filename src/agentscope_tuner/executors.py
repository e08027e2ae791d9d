"""Threads that nobody has to wait for.

Whoever needs threads has a pool of their own: workflows have the event loop's default one
(`asyncio.to_thread`), and none of our work (saving, compiling grammars) runs there. So tools that
block for ever can use up their own threads only.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

IDLE_S = 10.0
"""How long a thread without work stays."""

T = TypeVar("T")


class DaemonThreadPool(ThreadPoolExecutor):
    """A pool whose threads block neither `shutdown` nor the interpreter's exit.

    It is a `ThreadPoolExecutor` by name only, as event loops take no other default executor; the
    standard library's own is joined at exit, whatever its threads are stuck in.

    Args:
        max_threads: calls under way at once; more wait their turn.
        name: of the threads.
    """

    def __init__(self, max_threads: int, name: str) -> None:
        super().__init__(max_threads, name)
        self._most = max_threads
        self._name = name
        self._changed = threading.Condition()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._alive = 0
        self._idle = 0
        self._closed = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call `fn` in one of the threads. Raises RuntimeError after `shutdown`."""
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if self._idle <= len(self._calls) and self._alive < self._most:
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
                self._alive += 1
            self._calls.append((future, partial(fn, *args, **kwargs)))
            self._changed.notify()
        return future

    async def run(self, func: Callable[..., T], *args: Any) -> T:
        """Await the result of a call in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self, func, *args)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. Never waits: what is under way is left to itself, and not heard."""
        with self._changed:
            self._closed = True
            if cancel_futures:
                for future, _ in self._calls:
                    future.cancel()
                self._calls.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        while (call := self._next_call()) is not None:
            self._answer(*call)
            del call  # an idle thread holds on to nothing

    def _next_call(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._calls or self._closed, IDLE_S)
            self._idle -= 1
            if self._calls:
                return self._calls.popleft()
            self._alive -= 1
            return None

    def _answer(self, future: Future[Any], call: Callable[[], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        result: Any = None
        failure: BaseException | None = None
        try:
            result = call()
        except StopIteration:
            # asyncio cannot put one into a future: whoever awaits it would wait for ever.
            failure = RuntimeError("a function that ran in a thread raised StopIteration")
        except BaseException as error:
            failure = error
        if self._closed:
            return  # the event loop that asked is gone
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)
