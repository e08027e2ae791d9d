"""What `test_sharded.py` has two processes do, and then one of them alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tiny_training import make_model, random_groups
from torch.distributed.device_mesh import init_device_mesh
from transformers import AutoModelForCausalLM, PreTrainedModel

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.packing import PackSize
from agentscope_tuner.training.sharded.learner import ShardedLearner

FAMILIES = ("llama", "qwen3")  # a tied head, and one of its own
PACK = 32
SETTINGS = OptimizerSettings(lr=1e-2, grad_clip=0.5)


def learnt(learner: Any, algorithm: Any, seed: int) -> dict[str, Any]:
    """What one update of a learner on random groups tells, and the columns."""
    batch = Batch(random_groups(seed, groups=3))
    learner.forward(batch, {"proximal", "entropy"})
    before = {name: batch.columns[name].clone() for name in ("proximal", "entropy")}
    algorithm.prepare(batch)
    metrics = learner.forward_backward(batch, algorithm)
    metrics |= learner.optim_step(0.0)
    return {"metrics": metrics, "before": before, "columns": dict(batch.columns)}


def make_sharded(model: PreTrainedModel) -> ShardedLearner:
    return ShardedLearner(
        model,
        init_device_mesh("cpu", (dist.get_world_size(),)),
        optimizer=SETTINGS,
        compute_dtype=torch.float32,
        pack_size=PackSize(PACK),
    )


def run(rank: int, directory: Path) -> None:
    torch.set_num_threads(1)
    algorithm = get_algorithm()
    join(directory / "two", rank, 2)
    for family in FAMILIES:
        learner = make_sharded(make_model(family))
        results = [learnt(learner, algorithm, seed) for seed in (1, 2)]
        learner.save(directory / f"{family}-two")
        told = {"results": results, "weights": learner.weights()}
        torch.save(told, directory / f"{family}-{rank}.pt")
    dist.destroy_process_group()
    if rank == 0:
        join(directory / "one", 0, 1)
        for family in FAMILIES:
            saved = directory / f"{family}-two"
            learner = make_sharded(AutoModelForCausalLM.from_pretrained(saved))
            learner.load(saved)
            told = {"results": [learnt(learner, algorithm, seed=3)], "weights": learner.weights()}
            torch.save(told, directory / f"{family}-resumed.pt")
        dist.destroy_process_group()


def join(store: Path, rank: int, world: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)


if __name__ == "__main__":
    run(int(sys.argv[1]), Path(sys.argv[2]))
