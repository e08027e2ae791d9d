"""A Ray cluster of two nodes on this machine, one processor each, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.cluster_utils import Cluster

STORE_BYTES = 200_000_000
SMALL_STORE_BYTES = 80_000_000
"""Some more than the least that Ray takes."""
_NODE = {"num_cpus": 1, "num_gpus": 0}


@contextmanager
def two_nodes(store_bytes: int = STORE_BYTES, **settings: Any) -> Iterator[Cluster]:
    """Start the cluster, and end it; `settings` are Ray's internal ones, of all nodes."""
    head: dict[str, Any] = {"include_dashboard": False, "node_ip_address": "127.0.0.2"}
    head |= {**_NODE, "object_store_memory": store_bytes, "_system_config": settings}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        add_node(cluster, store_bytes)
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Cluster, store_bytes: int = STORE_BYTES):
    """Have one more node."""
    return cluster.add_node(**_NODE, object_store_memory=store_bytes, node_ip_address="127.0.0.3")
