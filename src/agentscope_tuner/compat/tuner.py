"""The module that answers to `agentscope.tuner`.

It has this package's public names, and those that AgentScope's earlier releases used for the same
things. What AgentScope's tuner has and this package does not serve is refused by name.
"""

from __future__ import annotations

from typing import Any

import agentscope_tuner
from agentscope_tuner.errors import InputError

_SERVED = (
    "AlgorithmConfig",
    "DatasetConfig",
    "JudgeOutput",
    "JudgeType",
    "TinkerConfig",
    "TunerModelConfig",
    "WorkflowOutput",
    "WorkflowType",
    "check_judge_function",
    "check_workflow_function",
    "tune",
)

_EARLIER_NAMES = {
    "Algorithm": "AlgorithmConfig",
    "Dataset": "DatasetConfig",
    "TunerChatModel": "TunerModelConfig",
}
_NOT_SERVED = ("PromptTuneConfig", "select_model", "tune_prompt")

__all__ = list(_SERVED)


class NotServedError(InputError, ImportError):
    """A script imports a part of AgentScope's tuner that this package does not have."""


def __getattr__(name: str) -> Any:
    if name in _NOT_SERVED:
        raise NotServedError(
            f"agentscope-tuner does not serve {name!r} of agentscope.tuner: "
            "run this script with AgentScope's own tuner, or leave that part out."
        )
    name = _EARLIER_NAMES.get(name, name)
    if name not in _SERVED:
        raise AttributeError(f"module 'agentscope.tuner' has no attribute {name!r}")
    return getattr(agentscope_tuner, name)


def __dir__() -> list[str]:
    return sorted([*_SERVED, *_EARLIER_NAMES])
