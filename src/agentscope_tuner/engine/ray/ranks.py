"""Ranks of a learner on the machines of a cluster: each an actor that the run talks to by itself.

Ray finds the actor its place and says what became of it. All else goes through two connections of
the run's own to the actor, as to a rank in a process of this machine.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from agentscope_tuner.engine.ray.asking import reason_of
from agentscope_tuner.engine.ray.patience import Patience
from agentscope_tuner.engine.ray.placement import Node
from agentscope_tuner.errors import RunError, TunerError
from agentscope_tuner.training.sharded.rank import give_signs_of_life, serve
from agentscope_tuner.training.sharded.talk import Rank

UNREACHABLE_MS = 30_000
"""For a machine to acknowledge what it was sent; then the connection counts as broken."""
Prepare = Callable[[], None]


class RankActor:
    """The actor."""

    def listen(self, key: bytes, threads: int, prepare: Prepare) -> tuple[tuple[str, int], int]:
        """Where it is to be called, by who knows the key, and the number of its process, which
        computes with so many threads.

        Raises what `prepare` raises, which runs before anything else.
        """
        prepare()
        torch.set_num_threads(threads)
        self._address = ray.util.get_node_ip_address()
        self._listener = Listener((self._address, 0), authkey=key)
        return (self._address, self._listener.address[1]), os.getpid()

    def serve(self, rank: int) -> None:
        """Take two connections and be a rank until the run has released it."""
        calls, life = (_steady(self._listener.accept()) for _ in range(2))
        served = threading.Event()
        signs = (life.fileno(), served)
        threading.Thread(target=give_signs_of_life, args=signs, daemon=True).start()
        serve(calls, rank, self._address)
        served.set()


class RayRank(Rank):
    """A rank that is an actor."""

    def __init__(self, rank: int, node: Node, actor: Any, called: Any, key: bytes) -> None:
        """Connect to an actor, whose `listen` gave `called`."""
        address, process = called
        self._actor = actor
        self._serving = actor.serve.remote(rank)
        calls, life = (_steady(Client(address, authkey=key)) for _ in range(2))
        with life:
            super().__init__(rank, node.address, process, calls, os.dup(life.fileno()))

    def end(self) -> None:
        """See `Rank.end`."""
        ray.kill(self._actor, no_restart=True)
        self.close()

    def wait(self, timeout_s: float) -> bool:
        """See `Rank.wait`."""
        return bool(ray.wait([self._serving], timeout=timeout_s)[0])

    def fate(self) -> str:
        """See `Rank.fate`."""
        if not self.wait(0):
            return self.silence()
        try:
            ray.get(self._serving)
        except RayError as error:
            return f"died: {reason_of(error)}"
        return "has ended"


def ranks_on(nodes: Sequence[Node], prepare: Prepare, patience: Patience) -> list[Rank]:
    """A rank on each of these machines, one of which may be named several times; with a GPU where
    the machine has any, and its share of the free processors, which samplers use in their turn.

    Raises what `prepare` raises in one of them, and RunError if one finds no place in time.
    """
    actors: list[Any] = []
    try:
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node.id, soft=False)
            options = {"num_cpus": 0, "num_gpus": min(1, node.gpus), "max_restarts": 0}
            kind: Any = ray.remote(RankActor)
            actors.append(kind.options(scheduling_strategy=there, **options).remote())
        key = secrets.token_bytes(32)
        called = [
            actor.listen.remote(key, max(1, int(node.cpus) // nodes.count(node)), prepare)
            for node, actor in zip(nodes, actors, strict=True)
        ]
        return [
            RayRank(rank, node, actor, _called(rank, node, place, patience), key)
            for rank, (node, actor, place) in enumerate(zip(nodes, actors, called, strict=True))
        ]
    except BaseException:
        for actor in actors:
            ray.kill(actor, no_restart=True)
        raise


def _called(rank: int, node: Node, called: ray.ObjectRef, patience: Patience) -> Any:
    try:
        return ray.get(called, timeout=patience.place_s)
    except GetTimeoutError:
        why = f"was not started within {patience.place_s:g} s"
    except RayTaskError as error:
        if isinstance(error.cause, TunerError):
            raise error.cause from None
        raise
    except RayError as error:
        why = f"died: {reason_of(error)}"
    raise RunError(f"The learner cannot be started: rank {rank} on node {node.address} {why}.")


def _steady(connection: Connection) -> Connection:
    """The connection, of small messages at once, and broken when its other end is unreachable."""
    with socket.socket(fileno=os.dup(connection.fileno())) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREACHABLE_MS)
    return connection
