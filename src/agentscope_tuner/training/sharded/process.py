"""A rank in a process of its own on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from multiprocessing import Pipe

from agentscope_tuner.training.sharded import rank as rank_process
from agentscope_tuner.training.sharded.talk import Rank


class RankProcess(Rank):
    """A rank that is a child of the run's process."""

    def __init__(self, rank: int, threads: str) -> None:
        """Start the process, which computes with so many threads."""
        calls, theirs = Pipe()
        life, signs = os.pipe()
        command = [sys.executable, "-m", rank_process.__name__]
        self._process = subprocess.Popen(
            [*command, str(theirs.fileno()), str(signs), str(rank)],
            pass_fds=(theirs.fileno(), signs),
            stdin=subprocess.DEVNULL,
            env={
                **os.environ,
                # Where modules of the user's are found here, they are found there.
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "OMP_NUM_THREADS": threads,
            },
            start_new_session=True,  # Ctrl-C is for the run, which goes on to the next border
        )
        theirs.close()
        os.close(signs)
        super().__init__(rank, socket.gethostname(), self._process.pid, calls, life)

    def end(self) -> None:
        """See `Rank.end`."""
        self._process.kill()
        self._process.wait()
        self.close()

    def wait(self, timeout_s: float) -> bool:
        """See `Rank.wait`."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def fate(self) -> str:
        """See `Rank.fate`."""
        code = self._process.poll()
        if code is None:
            return self.silence()
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with code {code}"


def ranks_here(count: int) -> list[Rank]:
    """So many ranks on this machine, which share its processors."""
    share = str(max(1, (os.cpu_count() or 1) // count))
    threads = os.environ.get("OMP_NUM_THREADS", share)
    return [RankProcess(rank, threads) for rank in range(count)]
