"""One rank: `python -m agentscope_tuner.training.sharded.rank CALLS LIFE RANK`, or an actor of Ray.

It does what it is told through the connection CALLS, one call after the other, and gives a sign of
life through LIFE twice a second; as a process of this machine it is given their file descriptors.
When the run that started it is gone, nobody reads LIFE, and the process ends at once, whatever it
is in the middle of.
"""

from __future__ import annotations

import io
import os
import pickle
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address, ip_network
from multiprocessing.connection import Connection
from typing import Any

import psutil
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.errors import TunerError
from agentscope_tuner.functions import load_script_module
from agentscope_tuner.training.recipe import Recipe
from agentscope_tuner.training.sharded.calls import Answer, Call, Place
from agentscope_tuner.training.sharded.parts import open_parts

HEARTBEAT_S = 0.5


class _Unpickler(pickle.Unpickler):
    """Knows the user's scripts by the names that they have in the run."""

    def find_class(self, module: str, name: str) -> Any:
        load_script_module(module)
        return super().find_class(module, name)


def serve(calls: Connection, rank: int, address: str) -> None:
    """Open the parts, say so, and answer calls until there are no more.

    The ranks find each other at a port of rank 0's, on its machine's `address`.
    """
    try:
        listening = socket.create_server((address, 0)) if rank == 0 else None
        _send(calls, Answer(listening and listening.getsockname()))
        place, recipe = _received(calls)
        opened = _tried(lambda: Answer(_open(place, recipe, address, listening)))
        parts = opened.value
        _send(calls, Answer(error=opened.error))
        while opened.error is None:
            call: Call = _received(calls)
            done = _tried(lambda call=call: _answer(parts[call.part], call))  # type: ignore[misc]
            _send(calls, done if rank == 0 else Answer(error=done.error))
    except (EOFError, ConnectionError):
        return  # the run has released the learner, or is gone


def _open(
    place: Place, recipe: Recipe, address: str, listening: socket.socket | None
) -> dict[str, Any]:
    cuda = recipe.device_type == "cuda"
    if cuda:
        torch.cuda.set_device(place.rank % torch.cuda.device_count())
    os.environ |= dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), interface_of(address))
    patience = timedelta(seconds=place.patience_s)
    store = dist.TCPStore(
        *place.store,
        place.world,
        is_master=listening is not None,
        timeout=patience,
        master_listen_fd=None if listening is None else listening.detach(),
    )
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        store=store,
        rank=place.rank,
        world_size=place.world,
        timeout=patience,
    )
    return dict(open_parts(recipe, init_device_mesh(recipe.device_type, (place.world,))))


def interface_of(address: str) -> str:
    """The network interface that an IPv4 address of this machine belongs to."""
    wanted = ip_address(address)
    for name, addresses in psutil.net_if_addrs().items():
        for one in addresses:
            if one.family == socket.AF_INET and wanted in ip_network(
                f"{one.address}/{one.netmask}", strict=False
            ):
                return name
    raise RuntimeError(f"no network interface has {address}")


def _answer(part: Any, call: Call) -> Answer:
    value = getattr(part, call.verb)(*call.arguments)
    batches = [argument for argument in call.arguments if isinstance(argument, Batch)]
    return Answer(value, batches[0].columns if batches else None)


def _tried(work: Callable[[], Answer]) -> Answer:
    try:
        return work()
    except TunerError as error:
        return Answer(error=error)
    except Exception:  # it may be of a class that the run does not know
        return Answer(error=RuntimeError(traceback.format_exc()))


def _send(calls: Connection, answer: Answer) -> None:
    calls.send_bytes(pickle.dumps(answer))  # `send` would share tensors by file descriptors


def _received(calls: Connection) -> Any:
    return _Unpickler(io.BytesIO(calls.recv_bytes())).load()


def give_signs_of_life(life: int, served: threading.Event) -> None:
    """Until nobody reads them any more; then end the process, unless it has done its work."""
    try:
        while True:
            os.write(life, b".")
            time.sleep(HEARTBEAT_S)
    except OSError:
        if not served.is_set():
            os._exit(0)


def main(calls: str, life: str, rank: str) -> None:
    """Serve the run that holds the other ends of these file descriptors."""
    signs = threading.Thread(
        target=give_signs_of_life, args=(int(life), threading.Event()), daemon=True
    )
    signs.start()
    serve(Connection(int(calls)), int(rank), "127.0.0.1")
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
