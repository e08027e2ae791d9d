"""Putting this package behind the name `agentscope.tuner`."""

from __future__ import annotations

import sys

import agentscope

from agentscope_tuner.compat import tuner
from agentscope_tuner.errors import InputError

_NAME = "agentscope.tuner"
_SUBMODULES = (
    *("_algorithm", "_config", "_dataset", "_judge", "_model", "_tune", "_workflow"),
    *("model_selection", "prompt_tune"),
)
"""Where AgentScope's tuner keeps its names; some scripts import them from there."""


def install() -> None:
    """Make `from agentscope.tuner import ...` import from this package, in this process.

    May be called again. Raises InputError if AgentScope's own tuner was imported before: the
    script would then hold parts of both.
    """
    if sys.modules.get(_NAME, tuner) is not tuner:
        raise InputError(
            "agentscope.tuner is imported already: call agentscope_tuner.install() before it."
        )
    sys.modules[_NAME] = tuner
    sys.modules.update({f"{_NAME}.{submodule}": tuner for submodule in _SUBMODULES})
    agentscope.tuner = tuner  # type: ignore[attr-defined]
