"""The module that answers to `agentscope.tuner`.

It has this package's public names, and those that AgentScope's earlier releases used for the same
things.
"""

from __future__ import annotations

import importlib
from typing import Any

import agentscope_tuner

_SERVED = (
    "AlgorithmConfig",
    "DatasetConfig",
    "JudgeOutput",
    "JudgeType",
    "PromptTuneConfig",
    "TinkerConfig",
    "TunerModelConfig",
    "WorkflowOutput",
    "WorkflowType",
    "check_judge_function",
    "check_workflow_function",
    "select_model",
    "tune",
    "tune_prompt",
)
_JUDGES = ("avg_time_judge", "avg_token_consumption_judge")
"""Of `agentscope.tuner.model_selection`."""

_EARLIER_NAMES = {
    "Algorithm": "AlgorithmConfig",
    "Dataset": "DatasetConfig",
    "TunerChatModel": "TunerModelConfig",
}
__all__ = list(_SERVED)


def __getattr__(name: str) -> Any:
    if name in _JUDGES:
        return getattr(importlib.import_module("agentscope_tuner.select.judges"), name)
    name = _EARLIER_NAMES.get(name, name)
    if name not in _SERVED:
        raise AttributeError(f"module 'agentscope.tuner' has no attribute {name!r}")
    return getattr(agentscope_tuner, name)


def __dir__() -> list[str]:
    return sorted([*_SERVED, *_EARLIER_NAMES, *_JUDGES])
