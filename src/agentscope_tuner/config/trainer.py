"""`trainer`, `synchronizer`, `cluster` and `monitor`: the learner, the machine, what is logged."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from agentscope_tuner.config.keys import Section, effect, not_here, on_a_cluster
from agentscope_tuner.config.trinity_keys import with_trinitys_keys

_ONE_DEVICE = "there is one device"
_ONE_PROCESS = "sampler and learner share one process"

SyncStyle = Literal["fixed", "explorer_driven", "trainer_driven", "fully_async"]
_STYLES = {"dynamic_by_explorer": "explorer_driven", "dynamic_by_trainer": "trainer_driven"}
"""Trinity's older names."""


@with_trinitys_keys("trainer")
class Trainer(Section):
    """The learner, and its checkpoints."""

    save_interval: int = effect(
        100, "Steps between checkpoints; there is one at the end too.", gt=0
    )
    keep_last: int | None = effect(
        None, "How many of the newest checkpoints are kept; empty: all.", gt=0
    )
    keep_best: str | None = effect(
        None,
        "An evaluation metric whose best checkpoint is kept beside the newest, "
        "eval/test/reward/mean for one.",
    )
    grad_clip: float = effect(1.0, "Gradients are scaled down to at most this norm.", gt=0)
    update_epochs: int = effect(
        1,
        "How often a step's updates go through its rollouts; from the second time on the policy "
        "has moved, which the loss clips.",
        gt=0,
    )
    use_dynamic_bsz: bool = effect(
        True, "Pack rollouts up to max_token_len_per_gpu; no: one rollout a pass."
    )
    max_token_len_per_gpu: int | None = effect(
        None,
        "Most tokens of one pass, a group of more is split; empty: twice the model's length. On a "
        "processor no group is added to 512, nor to 4096 where half of it is in the pass already.",
        gt=0,
    )
    dtype: Literal["auto", "bfloat16", "float32"] = effect(
        "auto", "Precision of training; auto: the sampler's, or float32 where that is float16."
    )
    ranks: int = effect(
        0,
        "Processes that weights, gradients and optimizer are spread over, each with a GPU if there "
        "are any: on this machine, or on a Ray cluster's machines if the run is on one and this "
        "machine has not as many GPUs; 0: the run's own process has all of them.",
        ge=0,
    )
    critic_warmup: int = effect(
        0, "So many first steps train the critic alone, and leave the policy as it is.", ge=0
    )
    ulysses_sequence_parallel_size: int = not_here(
        1, "Devices that one sequence is split over.", _ONE_DEVICE, gt=0
    )


@with_trinitys_keys("synchronizer")
class Synchronizer(Section):
    """How new weights reach the sampler."""

    sync_style: SyncStyle = effect(
        "fixed",
        "fixed: which weights draw a step's rollouts is known beforehand; trainer_driven, "
        "explorer_driven, fully_async: the newest that there are, never older than under fixed.",
    )
    sync_method: Literal["nccl", "checkpoint", "memory"] = not_here(
        "memory", "How weights travel.", _ONE_PROCESS
    )
    sync_interval: int = effect(1, "Steps between hand-overs.", gt=0)
    sync_offset: int = effect(0, "Steps that the sampler is ahead of the learner.", ge=0)
    overlap: bool = effect(
        True,
        "Sample while the learner learns, as far as interval and offset allow; no: in turns, which "
        "gives the same.",
    )
    sync_timeout: float = on_a_cluster(
        3600.0, "Seconds that a sampler has to take new weights.", _ONE_PROCESS, gt=0
    )

    @field_validator("sync_style", mode="before")
    @classmethod
    def _by_its_newer_name(cls, value: object) -> object:
        return _STYLES.get(value.lower(), value.lower()) if isinstance(value, str) else value


@with_trinitys_keys("cluster")
class Cluster(Section):
    """The machines of a run."""

    node_num: int = on_a_cluster(
        1,
        "Machines that a run waits for; more than one: of a Ray cluster.",
        "no Ray cluster was started here: this machine does it all",
        ge=0,
    )
    gpu_per_node: int = on_a_cluster(1, "GPUs that each of them has free.", _ONE_DEVICE, ge=0)
    ray_address: str | None = effect(
        None,
        "A Ray cluster to run on: host:port of its head, or auto for the one that was started on "
        "this machine; empty: RAY_ADDRESS, or none.",
    )


@with_trinitys_keys("monitor")
class Monitor(Section):
    """Where metrics go, besides metrics.jsonl and the terminal."""

    monitor_type: list[str] = effect(
        lambda: ["tensorboard"],
        "tensorboard, wandb, mlflow, swanlab, package.module:Name of one of your own, a list of "
        "them, or none.",
    )

    @field_validator("monitor_type", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        if isinstance(value, str):
            return [] if value == "none" else [value]
        return value
