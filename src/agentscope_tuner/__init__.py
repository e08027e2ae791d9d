"""Reinforcement learning for the model behind your agent, on the machine you have.

The public names are those of `agentscope.tuner`. Importing this package is cheap: what is heavy
(torch, transformers, agentscope) is imported when it is first used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from agentscope_tuner.version import __version__ as __version__

if TYPE_CHECKING:
    from agentscope_tuner.compat import install
    from agentscope_tuner.config.arguments import (
        AlgorithmConfig,
        DatasetConfig,
        TinkerConfig,
        TunerModelConfig,
    )
    from agentscope_tuner.config.prompt_arguments import PromptTuneConfig
    from agentscope_tuner.engine.callbacks import Callback
    from agentscope_tuner.engine.result import TuneResult
    from agentscope_tuner.errors import InputError, RunError, TunerError
    from agentscope_tuner.judges import judge_from_metrics
    from agentscope_tuner.runs.run import Run
    from agentscope_tuner.select.model_selection import select_model
    from agentscope_tuner.select.prompt_tuning import tune_prompt
    from agentscope_tuner.tuning import tune
    from agentscope_tuner.workflow import (
        JudgeOutput,
        JudgeType,
        WorkflowOutput,
        WorkflowType,
        check_judge_function,
        check_workflow_function,
    )


# GNU OpenMP reads this when torch is loaded: how long a worker spins before it sleeps, here about
# the time between two parallel sections of a step. Its default spins for milliseconds, which makes
# a step ten times slower as soon as another program wants the processor; workers that sleep
# cost a quiet machine a tenth to two thirds of the sampler's rate (benchmarks/README.md).
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# oneDNN and torch's layer above it keep a compiled product for each shape, by default 1024 of some
# 100 kB. Batches and packs hardly ever have the same shape twice; a step needs a few dozen.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
os.environ.setdefault("LRU_CACHE_CAPACITY", "128")

__all__ = [
    "AlgorithmConfig",
    "Callback",
    "DatasetConfig",
    "InputError",
    "JudgeOutput",
    "JudgeType",
    "PromptTuneConfig",
    "Run",
    "RunError",
    "TinkerConfig",
    "TuneResult",
    "TunerError",
    "TunerModelConfig",
    "WorkflowOutput",
    "WorkflowType",
    "check_judge_function",
    "check_workflow_function",
    "install",
    "judge_from_metrics",
    "select_model",
    "tune",
    "tune_prompt",
]

_HOMES = {
    "AlgorithmConfig": "config.arguments",
    "Callback": "engine.callbacks",
    "DatasetConfig": "config.arguments",
    "InputError": "errors",
    "JudgeOutput": "workflow",
    "JudgeType": "workflow",
    "PromptTuneConfig": "config.prompt_arguments",
    "Run": "runs.run",
    "RunError": "errors",
    "TinkerConfig": "config.arguments",
    "TuneResult": "engine.result",
    "TunerError": "errors",
    "TunerModelConfig": "config.arguments",
    "WorkflowOutput": "workflow",
    "WorkflowType": "workflow",
    "check_judge_function": "workflow",
    "check_workflow_function": "workflow",
    "install": "compat",
    "judge_from_metrics": "judges",
    "select_model": "select.model_selection",
    "tune": "tuning",
    "tune_prompt": "select.prompt_tuning",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
