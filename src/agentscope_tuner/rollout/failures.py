"""Failures: one place decides of what kind a failure is. A bad rollout is data, not a crash.

Whatever a user's function raises, or returns that cannot be used, becomes a `RolloutFailure` at the
boundary that it crossed. Every other exception is a fault of ours and passes through, loudly.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import openai

from agentscope_tuner.trajectory import ErrorKind, RolloutError

RETRIED: frozenset[ErrorKind] = frozenset({"workflow", "judge", "timeout", "model"})
"""Kinds that another attempt may be spared. What a function returned in good order (`output`,
`empty`) it would return again."""

_OUR_FILES = str(Path(__file__).parent)


class RolloutFailure(Exception):
    """An attempt failed for a reason that belongs into its rollout's record."""

    def __init__(self, kind: ErrorKind, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.error = RolloutError(kind, message, traceback)


@contextmanager
def boundary(role: Literal["workflow", "judge"]) -> Iterator[None]:
    """Turn what a user's function raises into a `RolloutFailure`.

    `SystemExit` too: a workflow that calls `exit()` ends itself, not the run.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        raise RolloutFailure(
            classify(role, error), _message(error), _users_traceback(error)
        ) from error


def classify(role: Literal["workflow", "judge"], error: BaseException) -> ErrorKind:
    """The kind of failure that `error`, raised out of this function, is.

    An endpoint that cannot be reached or answers 5xx failed by itself (`model`); a request that it
    refused (4xx: a prompt too long, for one) is the doing of the function that sent it.
    """
    if isinstance(error, openai.APIStatusError):
        return "model" if error.status_code >= 500 else role
    if isinstance(error, openai.APIConnectionError):
        return "model"
    return role


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
