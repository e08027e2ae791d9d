"""Which directory a run writes to, and whether it begins there or goes on.

no such run                     it begins
the named run is unfinished     it goes on after its last checkpoint, if nothing else was asked for
the named run is finished       refused: two runs are never mixed
its state or its last whole     refused: it could only begin again, over what is there
checkpoint is lost
its own config.yaml is run      it is repeated, under its name with a number behind it
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

from agentscope_tuner.checkpoint.run_state import FILE_NAME as STATE_FILE
from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.config import yaml_file
from agentscope_tuner.config.keys import values_of
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.contents import refuse_overwriting
from agentscope_tuner.errors import InputError

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"

MAY_CHANGE = (
    "buffer.total_steps",
    "buffer.total_epochs",
    "trainer.save_interval",
    "trainer.keep_last",
    "trainer.keep_best",
    "trainer.ranks",
    "explorer.eval_interval",
    "monitor.monitor_type",
    *(f"stop.{key}" for key in ("metric", "patience", "target", "max_hours", "max_tokens")),
    *(f"alerts.{key}" for key in ("command", "webhook")),
    "cluster.ray_address",
    "cluster.node_num",
    "cluster.gpu_per_node",
    "explorer.rollout_model.engine_num",
    "explorer.runner_per_model",
    "synchronizer.sync_timeout",
)
"""Keys that a run which goes on may have changed: none of them changes a step that was taken."""


@dataclass(frozen=True, slots=True)
class RunPlace:
    """Where a run is written."""

    directory: Path
    goes_on: bool
    """Whether the directory holds this run already."""


def find_place(config: Config, resume: bool) -> RunPlace:
    """Settle `config.name` and the run directory.

    Raises InputError: the named run is finished, was begun with another configuration, or is not
    known to be either, or there is none to resume.
    """
    # Absolute: a workflow may change the working directory of the process.
    project = Path(config.checkpoint_root_dir).absolute() / config.project
    if config.name is None:
        config.name = newest_unfinished(project) if resume else unused_name(project)
    directory = project / config.name
    try:
        state = RunState.load(directory)
    except InputError:
        refuse_overwriting(directory, f"has a damaged {STATE_FILE}")
        raise
    if state is None:
        refuse_overwriting(directory, f"has no {STATE_FILE}")
        if resume and not directory.exists():
            raise InputError(f"There is no run to resume at {directory}.")
        return RunPlace(directory, goes_on=False)
    if is_finished(state, config):
        raise InputError(
            f"The run {directory} is finished after {state.step} steps: give the new one another "
            "name (--set name=...), or more buffer.total_steps to go on with it."
        )
    refuse_other_configuration(directory, config)
    return RunPlace(directory, goes_on=True)


def last_checkpoint(place: RunPlace, store: CheckpointStore) -> Path | None:
    """The checkpoint that the run goes on from; None: it has to begin.

    Raises InputError: it has none that is whole any more.
    """
    checkpoint = store.latest() if place.goes_on else None
    if place.goes_on and checkpoint is None:
        state = RunState.load(place.directory)
        if store.steps():
            refuse_overwriting(place.directory, "has no checkpoint that is whole")
        elif state is not None and state.status in ("finished", "interrupted"):
            refuse_overwriting(place.directory, "has lost its checkpoints")
    return checkpoint


def unused_name(project: Path) -> str:
    """`Experiment-<timestamp>`, with a number behind it if two runs begin in one second."""
    name = "Experiment-" + datetime.now().strftime("%Y%m%d%H%M%S")
    return name if not (project / name).exists() else numbered_name(project, name)


def numbered_name(project: Path, name: str) -> str:
    """The first of `<name>-2`, `<name>-3`, ... that no run has."""
    return next(f"{name}-{n}" for n in count(2) if not (project / f"{name}-{n}").exists())


def name_repetition(config: Config, config_file: Path) -> None:
    """Give the run another name if `config_file` is the one that this very run has left, and the
    run is finished: it is repeated then. An unfinished one keeps its name, and goes on."""
    project = Path(config.checkpoint_root_dir) / config.project
    if config.name is None or config_file.resolve().parent != (project / config.name).resolve():
        return
    if is_finished(_known_state(project / config.name), config):
        config.name = numbered_name(project, config.name)


def is_finished(state: RunState | None, config: Config) -> bool:
    """Whether a run in this state has no steps left to do."""
    total_steps = config.buffer.total_steps
    return (
        state is not None
        and state.status == "finished"
        and (total_steps is None or total_steps <= state.step)
    )


def newest_unfinished(project: Path) -> str:
    """The name of the run of a project that was begun last and is not finished."""
    directories = project.iterdir() if project.is_dir() else ()
    states = [(path, _known_state(path)) for path in directories if path.is_dir()]
    unfinished = [path for path, state in states if state and state.status != "finished"]
    if not unfinished:
        raise InputError(f"There is no unfinished run to resume in {project}.")
    return max(unfinished, key=lambda path: path.stat().st_mtime).name


def _known_state(directory: Path) -> RunState | None:
    try:
        return RunState.load(directory)
    except InputError as error:
        logger.warning("%s It is passed over.", error)
        return None


def write_configuration(config: Config, directory: Path) -> None:
    """Write `config.yaml`, in one step: a killed run is compared with it when it goes on."""
    beside = directory / f".{CONFIG_FILE}.tmp"
    yaml_file.dump(config, beside)
    beside.replace(directory / CONFIG_FILE)


def may_change(config: Config) -> set[str]:
    """`MAY_CHANGE`, without the run's length if the learning rate of every step depends on it."""
    if not config.algorithm.optimizer.follows_the_length:
        return set(MAY_CHANGE)
    return {key for key in MAY_CHANGE if not key.startswith("buffer.total_")}


def refuse_other_configuration(directory: Path, config: Config) -> None:
    """Raise InputError if the run in `directory` was begun with another configuration."""
    begun = resolve(config_path=directory / CONFIG_FILE)
    before = {key.name: key.value for key in values_of(begun)}
    now = {key.name: key.value for key in values_of(config)}
    changed = [
        key
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and key not in may_change(config)
    ]
    if changed:
        raise InputError(
            f"The run {directory} was begun with another configuration (different: "
            f"{', '.join(changed)}): give this one another name, or undo the change to go on."
        )
