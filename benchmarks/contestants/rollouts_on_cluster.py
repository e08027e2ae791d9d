"""Rollouts of one model call: in this process, or on actors of a Ray cluster of this machine."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import psutil
import ray
import torch
from agentscope.model import ChatModelBase
from channel import Channel, Message, Timer

from agentscope_tuner import WorkflowOutput
from agentscope_tuner.config.resolve import resolve
from agentscope_tuner.engine.base import RolloutSource
from agentscope_tuner.engine.models import ModelFiles
from agentscope_tuner.on_cluster import open_rollouts
from agentscope_tuner.rollout.sampling import Sampling


async def ask(task: dict[str, Any], model: ChatModelBase) -> WorkflowOutput:
    """An agent that asks once."""
    answer = await model([{"role": "user", "content": task["question"]}])
    return WorkflowOutput(response=answer.content[0]["text"], reward=0.0)


async def opened(settings: Message) -> RolloutSource:
    """The source that `actors` says: 0 is this process, on one `core` or on all."""
    actors = settings["actors"]
    config = resolve(
        overrides={
            "model.model_path": settings["model"],
            "model.max_response_tokens": settings["tokens"],
            "buffer.explorer_input.taskset.path": "nowhere",
            "explorer.rollout_model.engine_num": max(actors, 1),
        }
    )
    files = ModelFiles.find(settings["model"])
    return await open_rollouts(config, files, None, ask, None, on_cluster=actors > 0)


def pin_actors() -> None:
    """Give each actor a core of its own."""
    descendants = psutil.Process().children(recursive=True)
    actors = [p for p in descendants if "RolloutWorker" in " ".join(p.cmdline())]
    for core, actor in enumerate(actors):
        for thread in actor.threads():
            os.sched_setaffinity(thread.id, {core})


def main() -> None:
    """Open, and roll out on request."""
    channel = Channel()
    actors, core = channel.settings["actors"], channel.settings["core"]
    if core is not None:
        os.sched_setaffinity(0, {core})
        torch.set_num_threads(1)
    if actors:
        ray.init(
            address="local",
            num_cpus=actors,
            include_dashboard=False,
            object_store_memory=500_000_000,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
        )
    loop = asyncio.new_event_loop()
    rollouts = loop.run_until_complete(opened(channel.settings))
    pin_actors()

    def roll_out(request: Message) -> Message:
        tasks = [{"question": question} for question in request["questions"]]
        with Timer() as timer:
            groups = loop.run_until_complete(
                rollouts.rollout(
                    tasks,
                    group_size=request["samples"],
                    label="step1",
                    seed=request["seed"],
                    sampling=Sampling(),
                    on_done=lambda rollout: None,
                )
            )
        done = [rollout for group in groups for rollout in group.rollouts]
        assert all(rollout.error is None for rollout in done), done[0].error
        tokens = sum(rollout.trajectory.sampled_tokens for rollout in done)
        return {"seconds": timer.seconds, "tokens": tokens}

    channel.serve(roll_out)


if __name__ == "__main__":
    main()
