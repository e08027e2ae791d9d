"""Where rollouts run, and ranks of the learner: here, or on the machines of a Ray cluster.

The only place outside `engine.ray` that knows of Ray, which need not be installed.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch

from agentscope_tuner.build.learner import Ranks, ranks_of_this_machine
from agentscope_tuner.build.models import Weights, build_rollouts
from agentscope_tuner.compat.alias import install
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.base import RolloutSource
from agentscope_tuner.engine.local import LocalRollouts
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.errors import InputError
from agentscope_tuner.training.sharded.talk import Rank
from agentscope_tuner.workflow import JudgeType, WorkflowType

LoadFunctions = Callable[[], tuple[WorkflowType | None, JudgeType | None]]


@contextmanager
def joined_cluster(config: Config) -> Iterator[bool]:
    """Join the Ray cluster that a run belongs on while the block runs; False: it stays here.

    It belongs on the one of `cluster.ray_address` or RAY_ADDRESS; and, if more samplers or
    machines are configured than one, on the one that was started on this machine.

    Raises InputError: Ray is not installed, there is no such cluster, or it lets nobody in.
    """
    cluster, samplers = config.cluster, config.explorer.rollout_model.engine_num
    named = cluster.ray_address or os.environ.get("RAY_ADDRESS")
    if not named and samplers == 1 and cluster.node_num <= 1:
        yield False
        return
    if find_spec("ray") is None:
        if named:
            raise InputError(
                f"{named} is a Ray cluster, and Ray is not installed: pip install "
                "'agentscope-tuner[ray]'."
            )
        address = None
    else:
        from agentscope_tuner.engine.ray.cluster import find_address, joined

        address = find_address(cluster.ray_address)
    if address is None:
        yield False
        return
    with joined(address):
        yield True


async def find_ranks(config: Config, run_directory: Path, *, on_cluster: bool) -> Ranks | None:
    """What the learner is spread over: processes of this machine, or, `on_cluster` and unless this
    machine has a GPU for each, actors on the cluster's machines. None: over nothing.

    Raises InputError if neither has what is configured.
    """
    count = config.trainer.ranks
    if not count:
        return None
    if not _ranks_are_placed(config, on_cluster):
        return ranks_of_this_machine(count)
    from agentscope_tuner.engine.ray.cluster import await_nodes
    from agentscope_tuner.engine.ray.code import UsersCode
    from agentscope_tuner.engine.ray.patience import Patience
    from agentscope_tuner.engine.ray.placement import ranks_places
    from agentscope_tuner.engine.ray.ranks import ranks_on

    nodes = await asyncio.to_thread(await_nodes, _wanted(config))
    places = ranks_places(
        nodes, count, config.explorer.rollout_model.engine_num * _gpus_each(config)
    )
    load = UsersCode.of(None, None, config.explorer.env_vars).load

    def start() -> Sequence[Rank]:
        probe = run_directory / f".seen-{secrets.token_hex(8)}"
        probe.touch()
        try:
            return ranks_on(places, partial(_prepare_rank, load, probe), Patience())
        finally:
            probe.unlink()

    return Ranks("cuda" if places[0].gpus else "cpu", start, here=False)


def _ranks_are_placed(config: Config, on_cluster: bool) -> bool:
    return on_cluster and config.trainer.ranks > torch.cuda.device_count()


def _prepare_rank(load_functions: LoadFunctions, probe: Path) -> None:
    """Runs in a rank on the cluster, before anything is loaded."""
    if not probe.exists():
        raise InputError(
            f"The run directory {probe.parent} is not seen on {socket.gethostname()}, where a rank "
            "of the learner is to write its part of each checkpoint: set checkpoint_root_dir to a "
            "directory that all machines of the cluster share."
        )
    install()
    load_functions()


def _gpus_each(config: Config) -> int:
    """GPUs of a sampler, if there are any."""
    model = config.trained_model()
    gpus: int = model.vllm["tensor_parallel_size"] if model.engine_type == "vllm" else 1
    return gpus


def _wanted(config: Config) -> dict[str, int]:
    """What is configured of the cluster's machines."""
    return {name: getattr(config.cluster, name) for name in config.cluster.model_fields_set}


async def open_rollouts(
    config: Config,
    files: ModelFiles,
    weights: Weights | None,
    workflow_func: WorkflowType | None,
    judge_func: JudgeType | None,
    *,
    on_cluster: bool,
) -> RolloutSource:
    """Rollouts in this process, or, `on_cluster`, on `engine_num` actors of the cluster.

    `weights` are the learner's; None: those of the model's files are sampled from.
    Raises InputError if the cluster has not what is configured, or an actor cannot be opened.
    """
    if not on_cluster:
        return await build_rollouts(config, files, weights, workflow_func, judge_func)
    from agentscope_tuner.engine.ray.cluster import await_nodes
    from agentscope_tuner.engine.ray.code import UsersCode
    from agentscope_tuner.engine.ray.crew import Crew
    from agentscope_tuner.engine.ray.patience import Patience
    from agentscope_tuner.engine.ray.placement import samplers_resources
    from agentscope_tuner.engine.ray.rollouts import RayRollouts

    # Once ranks have their places the machines are there, and have less that is free.
    wanted = {} if _ranks_are_placed(config, on_cluster) else _wanted(config)
    nodes = await asyncio.to_thread(await_nodes, wanted)
    code = UsersCode.of(workflow_func, judge_func, config.explorer.env_vars)
    samplers = config.explorer.rollout_model.engine_num
    crew = Crew(
        partial(_open_in_actor, config, code.load),
        size=samplers,
        resources=samplers_resources(nodes, samplers, _gpus_each(config)),
        most_at_once=config.explorer.runner_per_model,
        patience=Patience(weights_s=config.synchronizer.sync_timeout),
    )
    await crew.start(weights)
    return RayRollouts(crew)


async def _open_in_actor(config: Config, load_functions: LoadFunctions) -> LocalRollouts:
    """Runs in an actor: what rolls out there."""
    install()
    workflow_func, judge_func = load_functions()
    files = ModelFiles.of_tuned(config)
    return await build_rollouts(config, files, None, workflow_func, judge_func)
