"""Ray's object store where it is too small: what is said of it, beforehand and when it is full.

What finds no room in a node's store goes to a file on that node's disk, as Ray does it by default
and with spilling turned off. So a run goes on, more slowly, until that disk is full as well.
"""

from __future__ import annotations

import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError

from agentscope_tuner.errors import RunError

FULL = (OutOfDiskError, ObjectStoreFullError)
"""What Ray raises at once when neither a store nor its disk has room."""


def stores() -> dict[str, float]:
    """Bytes of the object store of each machine that is alive, by its address."""
    return {
        node["NodeManagerAddress"]: node["Resources"].get("object_store_memory", 0.0)
        for node in ray.nodes()
        if node["Alive"]
    }


def small_stores(size: int) -> str | None:
    """What is to be said if weights of so many bytes are more than a machine's store holds."""
    small = {address: room for address, room in stores().items() if room < size}
    if not small:
        return None
    listed = ", ".join(f"{address} ({in_mb(room)})" for address, room in sorted(small.items()))
    return (
        f"the weights ({in_mb(size)}) are more than Ray's object store holds on {listed}, so each "
        f"hand-over goes over the disk there: start Ray with --object-store-memory={2 * size}"
    )


def no_room(node: str, size: int, purpose: str) -> RunError:
    """What ends a run: so many bytes have no room on a node, by its address."""
    room = stores().get(node, 0.0)
    return RunError(
        f"Ray's object store on node {node} ({in_mb(room)}) has no room for {in_mb(size)} "
        f"{purpose}, and the disk that it spills to is full: free that disk, or give the store "
        f"more memory (ray start --object-store-memory={int(room) + size}). The last checkpoint "
        "is as it was; go on from it with --resume."
    )


def in_mb(size: float) -> str:
    """`12.5 MB`."""
    return f"{size / 1e6:,.1f} MB"
