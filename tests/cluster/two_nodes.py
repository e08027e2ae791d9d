"""A Ray cluster of two nodes on this machine, one processor each, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ray.cluster_utils import Cluster

STORE_BYTES = 200_000_000
_NODE = {
    "num_cpus": 1,
    "num_gpus": 0,
    "object_store_memory": STORE_BYTES,
}


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    """Start the cluster, and end it."""
    head = {**_NODE, "include_dashboard": False, "node_ip_address": "127.0.0.2"}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        add_node(cluster)
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Cluster):
    """Have one more node."""
    return cluster.add_node(**_NODE, node_ip_address="127.0.0.3")
