"""A cluster that is started by hand, as the guide says: by `ray start`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

RAY = str(Path(sys.executable).with_name("ray"))
STARTED_S = 60.0


@contextmanager
def ray_started(
    directory: Path,
    *,
    workers: int = 1,
    cpus: int = 1,
    environment: Mapping[str, str] = {},
    dashboard: int = 0,
) -> Iterator[str]:
    """Start a head and workers, `cpus` processors each; yields its address. Its files are below
    `directory`, which must have a short path."""
    env = {**os.environ, "RAY_TMPDIR": str(directory), **environment}
    port = free_port()
    address = f"127.0.0.2:{port}"
    common = [f"--num-cpus={cpus}", "--object-store-memory=200000000", "--block"]
    common += ["--disable-usage-stats"]
    head = [RAY, "start", "--head", f"--port={port}", "--node-ip-address=127.0.0.2", *common]
    head += [f"--include-dashboard={bool(dashboard)}"]
    if dashboard:
        head += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    with ExitStack() as running:
        running.enter_context(_process(head, env, directory / "head.txt"))
        _await_answer("127.0.0.2", port)
        if dashboard:
            _await_answer("127.0.0.1", dashboard)
        for number in range(workers):
            worker = [RAY, "start", f"--address={address}", *common]
            worker += [f"--node-ip-address=127.0.0.{3 + number}"]
            running.enter_context(_process(worker, env, directory / f"worker{number}.txt"))
        yield address


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.2", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def _process(command: list[str], env: Mapping[str, str], output: Path) -> Iterator[None]:
    with output.open("w") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


def _await_answer(host: str, port: int) -> None:
    deadline = time.monotonic() + STARTED_S
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nobody answers at {host}:{port}"
            time.sleep(0.2)
