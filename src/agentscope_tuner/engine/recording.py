"""A loop, run with a record that is begun before it and ended whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from agentscope_tuner.checkpoint.run_state import RunStatus
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.engine.record import RunRecord
from agentscope_tuner.engine.run_directory import RunPlace, write_configuration
from agentscope_tuner.engine.stop import StopRequest
from agentscope_tuner.functions import described
from agentscope_tuner.runs.identity import write_identity


class Loop(Protocol):
    """What is run."""

    async def run(self) -> bool:
        """Run to the end; False if a stop was asked for before it."""
        ...


async def recorded(
    loop: Loop,
    config: Config,
    place: RunPlace,
    files: ModelFiles,
    record: RunRecord,
    store: CheckpointStore,
    stop: StopRequest,
    rewarding: Callable[..., Any] | None,
) -> RunStatus:
    """Run the loop. Returns how it ended.

    `rewarding` is the function that gives the reward; None: nothing does.
    """
    status: RunStatus = "failed"
    try:
        with store.naming_failures(), stop.listening(record.console):
            write_configuration(config, place.directory)
            record.begin()
            inputs = config.buffer.explorer_input
            write_identity(
                place.directory,
                files.tokenizer,
                model={
                    "path": config.trained_model().model_path,
                    "directory": files.directory,
                },
                datasets={"train": inputs.taskset.path}
                | {dataset.name: dataset.path for dataset in inputs.eval_tasksets},
                judge=rewarding and described(rewarding),
            )
            status = "finished" if await loop.run() else "interrupted"
    finally:
        with store.naming_failures():
            record.end(status)
    return status
