"""A limit on how long a chat template may run.

A template is a program that comes with a model. Jinja's sandbox bounds what it may touch, not how
long it loops, and a thread that loops cannot be left behind: it holds Python's lock half of the
time. So one thread watches, and raises an exception in the one that is late.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LIMIT_S = 10.0
"""Seconds that one rendering may take; it takes milliseconds."""

AGAIN_S = 0.1
"""A template may catch the exception: it is raised again until it ends."""


class TemplateTimeout(ValueError):
    """A chat template that ran for too long."""

    def __init__(self) -> None:
        super().__init__(f"it was not done after {LIMIT_S:g} s")


_changed = threading.Condition()
_watched: dict[int, tuple[int, float]] = {}
"""Number of a rendering -> its thread, and when it is late."""
_numbers = itertools.count()
_watcher: threading.Thread | None = None


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise TemplateTimeout in the block, which runs Python code only, after `LIMIT_S` seconds."""
    number, thread = next(_numbers), threading.get_ident()
    _watch(number, thread)
    try:
        yield
    finally:
        _leave(number, thread)


def _watch(number: int, thread: int) -> None:
    global _watcher
    with _changed:
        _watched[number] = thread, time.monotonic() + LIMIT_S
        if _watcher is None:
            _watcher = threading.Thread(target=_run, name="template-watcher", daemon=True)
            _watcher.start()
        if len(_watched) == 1:
            _changed.notify()


def _leave(number: int, thread: int) -> None:
    while True:
        try:
            with _changed:
                _watched.pop(number, None)
                _raise(thread, None)  # one that has not arrived yet comes too late
            return
        except TemplateTimeout:
            continue


def _run() -> None:
    with _changed:
        while True:
            now = time.monotonic()
            for number, (thread, late) in _watched.items():
                if late <= now:
                    _raise(thread, TemplateTimeout)
                    _watched[number] = thread, now + AGAIN_S
            times = [late for _, late in _watched.values()]
            _changed.wait(min(times) - now if times else None)


def _raise(thread: int, error: type[Exception] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(error) if error else None
    )
