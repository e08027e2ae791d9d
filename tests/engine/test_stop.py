"""Signals that meet a run in the middle of a write to the terminal."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from agentscope_tuner.engine.stop import StopRequest


class Writing(io.RawIOBase):
    """Sends this process a signal while something is written to it."""

    def __init__(self) -> None:
        self.written = b""
        self.armed = True

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        if self.armed:
            self.armed = False
            os.kill(os.getpid(), signal.SIGINT)
        self.written += bytes(content)
        return len(content)


class Terminal:
    def __init__(self, file: io.BufferedWriter) -> None:
        self.file = file
        self.noted = threading.Event()

    def note(self, text: str) -> None:
        self.file.write(text.encode())
        self.file.flush()
        self.noted.set()

    def stop(self) -> None:
        self.file.flush()


def test_a_signal_in_the_middle_of_a_write_is_heard_and_harms_nothing() -> None:
    raw = Writing()
    file = io.BufferedWriter(raw, 4)
    terminal, stop = Terminal(file), StopRequest()
    with stop.listening(terminal):
        file.write(b"step 1 of 4")
        file.flush()
        assert stop.requested
        assert terminal.noted.wait(10)
    assert b"step 1 of 4" in raw.written
    assert b"stopping after this step" in raw.written


STUCK = """
import signal, time
from agentscope_tuner.engine.stop import StopRequest

class Terminal:
    def note(self, text): pass
    def stop(self): time.sleep(60)

with StopRequest().listening(Terminal()):
    signal.raise_signal(signal.{})
    signal.raise_signal(signal.{})
    time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
@pytest.mark.parametrize(
    ("signals", "code"), [(("SIGINT", "SIGTERM"), 143), (("SIGTERM", "SIGINT"), 130)]
)
def test_a_second_signal_ends_the_process_with_its_code_though_its_terminal_takes_nothing(
    signals: tuple[str, str], code: int
) -> None:
    ended = subprocess.run([sys.executable, "-c", STUCK.format(*signals)], timeout=50)
    assert ended.returncode == code
