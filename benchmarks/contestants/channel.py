"""The contestant's end of the conversation with the benchmark.

A contestant loads everything, says that it is ready, and then does its work once for each request,
answering with what it measured. Standard library only: every environment runs this file.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

Message = dict[str, Any]


class Channel:
    """JSON lines on standard input and output; what libraries print goes to standard error."""

    def __init__(self) -> None:
        self.settings: Message = json.loads(sys.argv[1])
        """What the benchmark started this contestant with."""
        self._answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(self, message: Message) -> None:
        """Send a message; the first one says that everything is loaded."""
        print(json.dumps(message), file=self._answers, flush=True)

    def receive(self) -> Message:
        """Wait for the next request."""
        line = sys.stdin.readline()
        if not line:
            os._exit(0)  # the benchmark is gone; the work may be deep inside a library
        message: Message = json.loads(line)
        return message

    def serve(self, work: Callable[[Message], Message], **about: Any) -> None:
        """Say ready, with what there is to say `about` oneself, and work through all requests."""
        self.answer(about)
        while True:
            self.answer(work(self.receive()))


class Timer:
    """Wall time of a block, in `seconds`."""

    seconds: float

    def __enter__(self) -> Timer:
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
