"""A socket that listens, for the commands that serve."""

from __future__ import annotations

import socket

from agentscope_tuner.errors import InputError


def listen(host: str, port: int | None) -> socket.socket:
    """Listen on a port of an interface; None takes a free one.

    Raises InputError if the port is taken or the interface is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port or 0))
        listener.listen()  # before the address is told: a browser is faster than the rest
    except OSError as error:
        listener.close()
        what = f"port {port} of {host}" if port else host
        raise InputError(
            f"{what} cannot be listened on ({error.strerror}): choose another --port, or leave it "
            "out for a free one."
        ) from None
    return listener
