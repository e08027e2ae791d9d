"""Where rollouts run: in this process, or on the machines of a Ray cluster.

The only place outside `engine.ray` that knows of Ray, which need not be installed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec

from agentscope_tuner.build.models import Weights, build_rollouts
from agentscope_tuner.compat.alias import install
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.base import RolloutSource
from agentscope_tuner.engine.local import LocalRollouts
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.errors import InputError
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

    model, samplers = config.trained_model(), config.explorer.rollout_model.engine_num
    gpus_each = model.vllm["tensor_parallel_size"] if model.engine_type == "vllm" else 1
    wanted = {name: getattr(config.cluster, name) for name in config.cluster.model_fields_set}
    nodes = await asyncio.to_thread(await_nodes, wanted)
    code = UsersCode.of(workflow_func, judge_func, config.explorer.env_vars)
    crew = Crew(
        partial(_open_in_actor, config, code.load),
        size=samplers,
        resources=samplers_resources(nodes, samplers, gpus_each),
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
