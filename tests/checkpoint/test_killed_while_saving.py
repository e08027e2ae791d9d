from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from agentscope_tuner.checkpoint.store import CheckpointStore

WRITER = """
import os, sys
from pathlib import Path
from agentscope_tuner.checkpoint.store import CheckpointStore

def write(directory):
    for index in range(20):
        (directory / f"shard_{index}").write_bytes(os.urandom(100_000))

store = CheckpointStore(Path(sys.argv[1]), keep_last=1)
store.recover()
print("ready", flush=True)
for step in range(int(sys.argv[2]), 100_000):
    store.save(step // 2, write)  # each step twice, so that replacement is hit as well
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    step = 2
    for round_number in range(6):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(step)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            deadline = time.monotonic() + 20
            while not store.steps() and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(random.uniform(0, 0.2))
            writer.send_signal(signal.SIGKILL)
        store.recover()
        latest = store.latest()
        assert latest is not None, f"round {round_number}: {sorted(os.listdir(tmp_path))}"
        assert not [name for name in os.listdir(tmp_path) if name.startswith(".global_step")]
        for path in store.steps().values():
            assert store.verify(path) == []
        step = 2 * max(store.steps())
