"""What monitors are told of a run."""

from __future__ import annotations

from pathlib import Path

from agentscope_tuner.config.keys import values_of
from agentscope_tuner.config.schema import Config
from agentscope_tuner.monitor.base import HyperParameter, RunInfo


def run_info(config: Config, directory: Path, resumed_step: int | None) -> RunInfo:
    """Its name, place and configuration."""
    return RunInfo(
        project=config.project,
        name=directory.name,
        directory=directory,
        hyperparameters=hyperparameters(config),
        resumed_step=resumed_step,
    )


def hyperparameters(config: Config) -> dict[str, HyperParameter]:
    """The configuration, flat, as monitors show it."""
    return {
        key.name: key.value if isinstance(key.value, HyperParameter) else str(key.value)
        for key in values_of(config)
    }
