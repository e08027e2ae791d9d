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
from agentscope_tuner.training.lora import LoraSettings
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.packing import PackSize
from agentscope_tuner.training.sharded.critic import ShardedCritic
from agentscope_tuner.training.sharded.learner import ShardedLearner

LEARNERS: dict[str, tuple[str, LoraSettings | None]] = {
    "llama": ("llama", None),  # a head that is tied
    "qwen3": ("qwen3", None),  # and one of its own
    "adapters": ("llama", LoraSettings(rank=4)),
}
CRITICS: dict[str, LoraSettings | None] = {"critic": None, "critic_adapters": LoraSettings(rank=4)}
PACK = 32
SETTINGS = OptimizerSettings(lr=1e-2, grad_clip=0.5)
PPO = get_algorithm(algorithm_type="ppo")


def learnt(learner: Any, algorithm: Any, seed: int, *further: str) -> dict[str, Any]:
    """What one update of a learner on random groups tells, and the columns, `further` ones too."""
    batch = Batch(random_groups(seed, groups=3))
    names = ("proximal", "entropy", "expected_push", *further)
    learner.forward(batch, set(names))
    before = {name: batch.columns[name].clone() for name in names}
    algorithm.prepare(batch)
    metrics = learner.forward_backward(batch, algorithm)
    metrics |= learner.optim_step(0.0)
    return {"metrics": metrics, "before": before, "columns": dict(batch.columns)}


def valued(critic: Any, seed: int) -> dict[str, Any]:
    """What one update of a critic tells, and the columns."""
    batch = Batch(random_groups(seed, groups=3))
    critic.forward(batch, {"value"})
    before = {"value": batch.columns["value"].clone()}
    batch.columns["return"] = torch.cos(batch.columns["sampler"])
    metrics = critic.forward_backward(batch, PPO) | critic.optim_step(0.0)
    return {"metrics": metrics, "before": before, "columns": dict(batch.columns)}


def open_learner(make: Any, name: str, model: PreTrainedModel | None = None, **more: Any) -> Any:
    """The learner of this name, by a class or a function that makes one."""
    family, lora = LEARNERS[name]
    made = model or make_model(family)
    torch.manual_seed(7)  # of the adapters
    return make(
        made,
        **more,
        optimizer=SETTINGS,
        compute_dtype=torch.float32,
        pack_size=PackSize(PACK),
        lora=lora,
    )


def open_critic(make: Any, name: str, **more: Any) -> Any:
    """The critic of this name."""
    model = make_model()
    torch.manual_seed(7)
    return make(
        model,
        **more,
        optimizer=SETTINGS,
        compute_dtype=torch.float32,
        pack_size=PackSize(PACK),
        lora=CRITICS[name],
    )


def further(name: str) -> tuple[str, ...]:
    """Columns that a learner of this name knows beside those that all know."""
    return ("reference",) if LEARNERS[name][1] is not None else ()


def run(rank: int, directory: Path) -> None:
    torch.set_num_threads(1)
    algorithm = get_algorithm()
    join(directory / "two", rank, 2)
    mesh = {"mesh": init_device_mesh("cpu", (2,))}
    for name in LEARNERS:
        learner = open_learner(ShardedLearner, name, **mesh)
        results = [learnt(learner, algorithm, seed, *further(name)) for seed in (1, 2)]
        learner.save(directory / f"{name}-two")
        told = {"results": results, "weights": learner.weights()}
        torch.save(told, directory / f"{name}-{rank}.pt")
    for name in CRITICS:
        critic = open_critic(ShardedCritic, name, **mesh)
        results = [valued(critic, seed) for seed in (1, 2)]
        critic.save(directory / f"{name}-two")
        torch.save({"results": results}, directory / f"{name}-{rank}.pt")
    dist.destroy_process_group()
    if rank == 0:
        join(directory / "one", 0, 1)
        mesh = {"mesh": init_device_mesh("cpu", (1,))}
        for name, (_, lora) in LEARNERS.items():
            saved = directory / f"{name}-two"
            model = None if lora else AutoModelForCausalLM.from_pretrained(saved)
            learner = open_learner(ShardedLearner, name, model, checkpoint=saved, **mesh)
            results = [learnt(learner, algorithm, 3, *further(name))]
            told = {"results": results, "weights": learner.weights()}
            torch.save(told, directory / f"{name}-resumed.pt")
        for name in CRITICS:
            saved = directory / f"{name}-two"
            critic = open_critic(ShardedCritic, name, checkpoint=saved, **mesh)
            torch.save({"results": [valued(critic, 3)]}, directory / f"{name}-resumed.pt")
        dist.destroy_process_group()


def join(store: Path, rank: int, world: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)


if __name__ == "__main__":
    run(int(sys.argv[1]), Path(sys.argv[2]))
