"""Memory is held in one heap that all threads share, and what is freed is kept or given back."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, ctypes, re, sys, tempfile, threading
from agentscope_tuner.event_loop import run_to_completion

def allocate():
    return [bytes(100_000) for _ in range(10)]

async def work():
    await asyncio.gather(*(asyncio.to_thread(allocate) for _ in range(4)))
    thread = threading.Thread(target=allocate)
    thread.start()
    thread.join()

run_to_completion(work()) if sys.argv[1:] else asyncio.run(work())
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
with tempfile.NamedTemporaryFile() as file:
    stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(len(re.findall("<heap nr=", file.read().decode())))
"""


def heaps(*arguments: str) -> int:
    """How many the process has after threads have allocated, by glibc's own account."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is not glibc's")
def test_the_threads_of_a_run_allocate_from_one_heap():
    assert heaps() > 1  # where nobody asks
    assert heaps("run") == 1


FREED = """
import sys
import psutil, torch
from agentscope_tuner.heap import keep_freed_memory, map_large_blocks

keep_freed_memory()
if sys.argv[1] != "kept":
    map_large_blocks()
if sys.argv[1] == "kept again":
    keep_freed_memory()
before = psutil.Process().memory_info().rss
large = torch.ones(2**25)
behind = torch.ones(64)
del large
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is not glibc's")
@pytest.mark.parametrize(
    ("asked", "kept"), [("kept", True), ("mapped", False), ("kept again", True)]
)
def test_a_large_block_that_is_freed_is_kept_or_given_back_as_was_asked(asked, kept):
    """With a small one behind it, which stays."""
    command = [sys.executable, "-c", FREED, asked]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert (int(done.stdout) > 100e6) == kept
