"""How many actors of what size fit on which machines: arithmetic over what the nodes have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentscope_tuner.errors import InputError


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster and what of it is free."""

    address: str
    cpus: float
    gpus: float
    id: str = ""
    """Ray's name of it."""

    def __str__(self) -> str:
        return f"{self.address} ({self.cpus:g} CPUs, {self.gpus:g} GPUs)"


def samplers_resources(
    nodes: Sequence[Node], samplers: int, gpus_each: int = 1
) -> dict[str, float]:
    """What each of so many samplers gets: `gpus_each` of one node if any node has GPUs, else as
    many processors as leave room for all of them.

    Raises InputError, with what is asked and what there is, if they do not fit.
    """
    gpus = any(node.gpus for node in nodes)
    if gpus:
        if sum(int(node.gpus // gpus_each) for node in nodes) < samplers:
            each = "a GPU" if gpus_each == 1 else f"{gpus_each} GPUs of one machine"
            raise InputError(_too_many(nodes, samplers, each))
        return {"num_cpus": 1, "num_gpus": gpus_each}
    sizes = range(int(max((node.cpus for node in nodes), default=0)), 0, -1)
    for cpus in sizes:
        if sum(int(node.cpus // cpus) for node in nodes) >= samplers:
            return {"num_cpus": cpus, "num_gpus": 0}
    raise InputError(_too_many(nodes, samplers, "a CPU"))


def ranks_places(nodes: Sequence[Node], ranks: int, kept: int) -> list[Node]:
    """The machine of each rank of a learner.

    If any has GPUs each rank has one, on as few machines as can be, and `kept` are left for
    samplers; else the machines have ranks in turn, which share the processors with samplers.

    Raises InputError, with what is asked and what there is, if they do not fit.
    """
    by_size = sorted(nodes, key=lambda node: (-node.gpus, node.address))
    places = [node for node in by_size for _ in range(int(node.gpus))]
    if not places:
        return [by_size[rank % len(by_size)] for rank in range(ranks)]
    if len(places) < ranks + kept:
        raise InputError(
            f"trainer.ranks is {ranks}, each with a GPU to itself, and samplers need {kept}, for "
            f"which the cluster's machines have no room: {_listed(nodes)}. Lower one of the two, "
            "add machines, or wait for what runs there."
        )
    return places[:ranks]


def refuse_missing_nodes(nodes: Sequence[Node], wanted: Mapping[str, int], waited_s: float) -> None:
    """Raise InputError if there are fewer machines, or fewer GPUs on one, than configured.

    `wanted` holds `node_num` and `gpu_per_node` as far as they were configured.
    """
    machines = wanted.get("node_num", 1)
    if len(nodes) < machines:
        raise InputError(
            f"cluster.node_num is {machines}, but after {waited_s:g} s the cluster has only "
            f"{len(nodes)}: {_listed(nodes)}. Run `ray start --address=...` on the others, or "
            "lower it."
        )
    gpus = wanted.get("gpu_per_node", 0)
    able = [node for node in nodes if node.gpus >= gpus]
    if len(able) < machines:
        raise InputError(
            f"cluster.gpu_per_node is {gpus}, but only {len(able)} of the cluster's machines have "
            f"as many free: {_listed(nodes)}."
        )


def _too_many(nodes: Sequence[Node], samplers: int, each: str) -> str:
    return (
        f"explorer.rollout_model.engine_num is {samplers}, each with {each} to itself, and the "
        f"cluster's machines have no room for them: {_listed(nodes)}. Lower it, add machines, or "
        "wait for what runs there."
    )


def _listed(nodes: Sequence[Node]) -> str:
    return ", ".join(map(str, nodes)) or "none"
