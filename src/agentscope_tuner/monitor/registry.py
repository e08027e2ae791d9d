"""Which monitors there are, and what each needs to be installed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agentscope_tuner.errors import InputError
from agentscope_tuner.monitor.base import Monitor
from agentscope_tuner.monitor.forgiving import Forgiving
from agentscope_tuner.monitor.jsonl import MetricsFile
from agentscope_tuner.registry import Registry


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a monitor lives; it is imported only when it is asked for."""

    module: str
    class_name: str
    package: str
    """The import that has to succeed."""
    install: str
    forgiving: bool = True
    """Whether the run goes on if it fails on the way: it may be on the other side of a network."""


_OWN = {
    "tensorboard": _Entry("tensorboard", "TensorBoard", "tensorboard", "tensorboard", False),
    "wandb": _Entry("wandb", "WeightsAndBiases", "wandb", '"agentscope-tuner[wandb]"'),
    "mlflow": _Entry("mlflow", "MLflow", "mlflow", '"agentscope-tuner[mlflow]"'),
    "swanlab": _Entry("swanlab", "SwanLab", "swanlab", '"agentscope-tuner[swanlab]"'),
}

MONITORS: Registry[_Entry | Callable[[], Monitor]] = Registry(
    "monitor_type", "agentscope_tuner.monitors", _OWN
)
"""Every monitor."""


def create_monitors(types: Sequence[str]) -> list[Monitor]:
    """Create the monitors of a run: `metrics.jsonl`, which every run has, and the ones asked for.

    Args:
        types: names of monitors; `none` adds nothing and stands alone.

    Raises:
        InputError: a type is unknown, given twice or not installed, or `none` is not alone.
    """
    if len(set(types)) < len(types):
        raise InputError(f"monitor_type names a monitor twice: {', '.join(types)}.")
    if "none" in types and len(types) > 1:
        raise InputError(f"monitor_type 'none' stands alone, but is one of {', '.join(types)}.")
    return [MetricsFile(), *(_create(name) for name in types if name != "none")]


def _create(name: str) -> Monitor:
    entry = MONITORS.find(name)
    if not isinstance(entry, _Entry):
        return Forgiving(entry())
    spec = importlib.util.find_spec(entry.package)
    # A directory that W&B left in the working directory looks like a package without a file.
    if spec is None or spec.origin is None:
        raise InputError(
            f"monitor_type {name!r} needs a package that is not installed: "
            f"pip install {entry.install}"
        )
    module = importlib.import_module(f"agentscope_tuner.monitor.{entry.module}")
    monitor: Monitor = getattr(module, entry.class_name)()
    return Forgiving(monitor) if entry.forgiving else monitor
