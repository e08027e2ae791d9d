"""The boundary to the user's code: whatever happens behind it becomes data.

Workflows, judges and everything that reads the objects they return (a property, `__float__`,
`__str__`) run behind `boundary`. Whatever is raised there, or returned that cannot be used, becomes
a `RolloutFailure`: a bad rollout is data, not a crash. Every other exception is a fault of ours and
passes through, loudly. What user code leaves on the event loop is `event_loop`'s business.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import openai

from agentscope_tuner.plain_text import plain_text
from agentscope_tuner.trajectory import ErrorKind, RolloutError

Role = Literal["workflow", "judge"]

RETRIED: frozenset[ErrorKind] = frozenset({"workflow", "judge", "timeout", "model"})
"""Kinds that another attempt may be spared. What a function returned in good order (`output`,
`empty`) it would return again."""

MAX_MESSAGE = 2_000
"""Characters that are kept of an exception's text."""
MAX_TRACEBACK = 20_000
"""Characters that are kept of a traceback."""

_OUR_FILES = str(Path(__file__).parent)

T = TypeVar("T")


class RolloutFailure(Exception):
    """An attempt failed for a reason that belongs into its rollout's record."""

    def __init__(self, kind: ErrorKind, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.error = RolloutError(kind, message, traceback)


@contextmanager
def boundary(role: Role) -> Iterator[None]:
    """Turn whatever is raised by a user's code into a `RolloutFailure`.

    `SystemExit`, `KeyboardInterrupt` (a true Ctrl-C never arrives as one here, see `engine.stop`)
    and `GeneratorExit` too: the code ends itself, not the run. Only `CancelledError` passes, as the
    deadline cancels.
    """
    try:
        yield
    except (RolloutFailure, asyncio.CancelledError):
        raise
    except BaseException as error:
        raise _failure(role, error) from error


def guarded(call: Callable[[], T], otherwise: T) -> T:
    """What a call of a user's code gives, or `otherwise` if it raises anything."""
    try:
        return call()
    except BaseException:
        return otherwise


def classify(role: Role, error: BaseException) -> ErrorKind:
    """The kind of failure that `error`, raised out of this function, is.

    An endpoint that cannot be reached or answers 5xx failed by itself (`model`); a request that it
    refused (4xx: a prompt too long, for one) is the doing of the function that sent it.
    """
    if isinstance(error, openai.APIStatusError):
        return "model" if error.status_code >= 500 else role
    if isinstance(error, openai.APIConnectionError):
        return "model"
    return role


def _failure(role: Role, error: BaseException) -> RolloutFailure:
    """Describe an exception, which is a user's object as well: it may raise on every touch."""
    name = guarded(lambda: type(error).__name__, "an exception without a name")
    message = guarded(
        lambda: plain_text(_message(error), MAX_MESSAGE), f"{name}: (its text cannot be read)"
    )
    told = guarded(lambda: plain_text(_users_traceback(error), MAX_TRACEBACK), "")
    return RolloutFailure(guarded(lambda: classify(role, error), role), message, told)


def _message(error: BaseException) -> str:
    """The error in a line; of an endpoint's answer only what it says, not its JSON."""
    text = str(error)
    if isinstance(error, openai.APIStatusError) and isinstance(error.body, dict):
        text = error.body.get("message", text)
    return f"{type(error).__name__}: {text}"


def _users_traceback(error: BaseException) -> str:
    """The traceback from the user's first frame on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OUR_FILES):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))
