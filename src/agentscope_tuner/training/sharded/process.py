"""The run's end of one rank's process: starts it, tells it what to do, knows whether it lives."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from agentscope_tuner.training.sharded import rank as rank_process

_AT_ONCE = 65536


class RankProcess:
    """One rank. `readable` are what news of it arrive at."""

    def __init__(self, rank: int, files: Path, environment: Mapping[str, str]) -> None:
        """Start the process, with these variables beside the run's own; `files` is a directory that
        all ranks share."""
        self.rank = rank
        self.calls, theirs = Pipe()
        self.life, life = os.pipe()
        os.set_blocking(self.life, False)
        command = [sys.executable, "-m", rank_process.__name__]
        self._process = subprocess.Popen(
            [*command, str(theirs.fileno()), str(life), str(files)],
            pass_fds=(theirs.fileno(), life),
            stdin=subprocess.DEVNULL,
            # Where modules of the user's are found here, they are found there.
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                **environment,
            },
            start_new_session=True,  # Ctrl-C is for the run, which goes on to the next border
        )
        theirs.close()
        os.close(life)
        self._seen = time.time()

    @property
    def readable(self) -> tuple[Any, int]:
        """What to wait for: answers, and signs of life."""
        return self.calls, self.life

    def hear(self) -> None:
        """Take note of the signs of life so far. Raises EOFError if there can be no more."""
        while True:
            try:
                signs = os.read(self.life, _AT_ONCE)
            except BlockingIOError:
                return
            if not signs:
                raise EOFError
            self._seen = time.time()

    @property
    def silent_s(self) -> float:
        """Seconds since the last sign of life."""
        return time.time() - self._seen

    def end(self) -> None:
        """Kill it; what it was doing is lost."""
        self._process.kill()
        self._process.wait()
        self.close()

    def close(self) -> None:
        """Let go of it: it ends by itself when it has nothing under way."""
        self.calls.close()
        if self.life >= 0:
            os.close(self.life)
            self.life = -1

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended within so many seconds."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def fate(self) -> str:
        """What has become of it, for a sentence."""
        code = self._process.poll()
        if code is None:
            return f"has given no sign of life for {self.silent_s:.0f} s"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with code {code}"

    def __str__(self) -> str:
        seen = time.strftime("%H:%M:%S", time.localtime(self._seen))
        return (
            f"learner rank {self.rank} on node {socket.gethostname()}, process "
            f"{self._process.pid} (last sign of life: {seen})"
        )
