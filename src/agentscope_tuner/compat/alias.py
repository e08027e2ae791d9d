"""Putting this package behind the names that scripts import from: `agentscope.tuner`, and the one
module of Trinity-RFT that published judges use."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from types import ModuleType

import agentscope

from agentscope_tuner.compat import math_reward, tuner
from agentscope_tuner.errors import InputError

_NAME = "agentscope.tuner"
_SUBMODULES = (
    *("_algorithm", "_config", "_dataset", "_judge", "_model", "_tune", "_workflow"),
    *("model_selection", "prompt_tune"),
)
"""Where AgentScope's tuner keeps its names; some scripts import them from there."""
_JUDGES = ("trinity", "trinity.common", "trinity.common.rewards")
"""The packages around `trinity.common.rewards.math_reward`."""


def install() -> None:
    """Make `from agentscope.tuner import ...` import from this package, in this process.

    `trinity.common.rewards.math_reward` is this package's too, unless Trinity-RFT is installed. May
    be called again. Raises InputError if AgentScope's own tuner was imported before: the script
    would then hold parts of both.
    """
    if sys.modules.get(_NAME, tuner) is not tuner:
        raise InputError(
            "agentscope.tuner is imported already: call agentscope_tuner.install() before it."
        )
    sys.modules[_NAME] = tuner
    sys.modules.update({f"{_NAME}.{submodule}": tuner for submodule in _SUBMODULES})
    agentscope.tuner = tuner  # type: ignore[attr-defined]
    if "trinity" not in sys.modules and PathFinder.find_spec("trinity") is None:
        _answer_to_trinity()


def _answer_to_trinity() -> None:
    modules: dict[str, ModuleType] = {}
    for name in _JUDGES:
        modules[name] = ModuleType(name, "The part of Trinity-RFT that judges use.")
        modules[name].__path__ = []
    modules[f"{_JUDGES[-1]}.math_reward"] = math_reward
    for name, module in modules.items():
        package, _, last = name.rpartition(".")
        if package:
            setattr(modules[package], last, module)
    sys.modules.update(modules)
