"""Finding a Ray cluster and joining it as its driver, and what is said where that is not possible.

`ray.init` waits two minutes for an address that nobody has, and then ends the process: so whether
anybody answers is asked first.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray
from ray._private.services import canonicalize_bootstrap_address
from ray._private.state import available_resources_per_node
from ray.exceptions import AuthenticationError

from agentscope_tuner.engine.ray.placement import Node, refuse_missing_nodes
from agentscope_tuner.errors import InputError

ANSWER_S = 10.0
"""For an address to answer."""
NODES_S = 60.0
"""For the configured number of machines to be there."""

_TOKEN = (
    "Every machine and the driver need the cluster's token: the same RAY_AUTH_TOKEN, or file at "
    "RAY_AUTH_TOKEN_PATH, with RAY_AUTH_MODE=token"
)


def find_address(configured: str | None) -> str | None:
    """The cluster's address: the configured one, that of RAY_ADDRESS, or that of a cluster that
    was started on this machine. None: there is none.

    Raises InputError if the configured one is none.
    """
    given = configured or os.environ.get("RAY_ADDRESS", "auto")
    if given.startswith("ray://"):
        raise InputError(
            f"cluster.ray_address is {given}, for Ray's remote client: run the script on a machine "
            "of the cluster, or by `ray job submit`, and give the head's host:port or auto."
        )
    if given == "local":
        return None
    if given != "auto":
        return given
    try:
        address: str | None = canonicalize_bootstrap_address(given)
    except ConnectionError as error:  # nothing was started here
        if configured:
            raise InputError(
                "cluster.ray_address is auto, but no Ray cluster was started on this machine: run "
                "`ray start --head` here, or `ray start --address=...` to join one."
            ) from error
        return None
    return address


@contextmanager
def joined(address: str) -> Iterator[None]:
    """Be a driver of the cluster while the block runs; all that it started there ends with it.

    A process that has joined one already stays in that. Raises InputError if it is not let in.
    """
    if ray.is_initialized():
        yield
        return
    _refuse_silence(address)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, logging_level=logging.ERROR)
    except AuthenticationError as error:
        raise InputError(f"The Ray cluster at {address} wants a token: {_TOKEN}.") from error
    except ConnectionError as error:
        raise InputError(
            f"The Ray cluster at {address} answers, but lets this process not in. {_TOKEN}, and "
            "the same version of Ray."
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's raises in the middle of an event loop
    try:
        yield
    finally:
        ray.shutdown()


def await_nodes(wanted: Mapping[str, int]) -> list[Node]:
    """What is free on the cluster's machines, once they are as many as `wanted` says.

    Raises InputError if they are not after `NODES_S`; see `refuse_missing_nodes`.
    """
    deadline = time.monotonic() + NODES_S
    while True:
        nodes = free_nodes()
        if len(nodes) >= wanted.get("node_num", 1) or time.monotonic() > deadline:
            refuse_missing_nodes(nodes, wanted, NODES_S)
            return nodes
        time.sleep(1.0)


def free_nodes() -> list[Node]:
    """The machines that are alive, with what is free on them."""
    free = available_resources_per_node()
    return [
        Node(
            node["NodeManagerAddress"],
            free.get(node["NodeID"], {}).get("CPU", 0.0),
            free.get(node["NodeID"], {}).get("GPU", 0.0),
            node["NodeID"],
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def _refuse_silence(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"No Ray cluster answers at {address} ({error}): start one with `ray start --head`, or "
            "mend cluster.ray_address or RAY_ADDRESS."
        ) from error
