"""How fast the viewer answers, and what a run pays for its record: `make bench-viewer`.

Writes runs with random tokens into a temporary directory and times what the server does for a page,
in a fresh process for what is cold. What the browser does with an answer is not in these numbers.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.monitor.phases import Phases
from agentscope_tuner.rollout.under_way import Begun, Running
from agentscope_tuner.runs.index import index_path
from agentscope_tuner.runs.live import LiveFile
from agentscope_tuner.runs.writer import RolloutWriter
from agentscope_tuner.trajectory import Call, Rollout, RolloutGroup, Sampled, Segment, Trajectory
from agentscope_tuner.viewer.library import Library
from agentscope_tuner.viewer.pages import PAGES
from agentscope_tuner.viewer.server import to_json

MILLION = 1_000_000
TOKEN_IDS = 40_000


def main() -> None:
    """Print one line a measurement: what, the figure, its goal."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(place, "P", "run")
        record = write_run(run)
        print(f"a step's record, 64 rollouts of 300 tokens  {record:8.2f} ms   goal 10")
        print(f"its live file, 64 rollouts, 20 s            {live_cost(run):8.2f} ms   goal 10")
        for line in subprocess.run(
            [sys.executable, __file__, str(run)], capture_output=True, text=True, check=True
        ).stdout.splitlines():
            print(line)
        million = Path(place, "P", "million")
        repeat_index(run, million)
        seconds = timed(Library(million), "list") / 1e3
        print(f"1,000,000 lines of an index opened          {seconds:8.1f} s")


def look_at(run: Path) -> None:
    """In a process of its own: pages cold and warm, and its memory."""
    began = time.perf_counter()
    library = Library(run)
    first = timed(library, "list") + (time.perf_counter() - began) * 1e3
    goals: list[tuple[str, float, int]] = [
        ("first page of 10,000 rollouts, cold", first, 1000),
        ("the next page", timed(library, "list", start="60"), 100),
        ("a step of 64", timed(library, "step", step="50"), 100),
        ("a group of 8 x 4,000 tokens, cold", timed(library, "group", step="158", group="g"), 200),
        ("a rollout of 32,000 tokens, cold", timed(library, "rollout", step="159", id="r"), 300),
    ]
    for what, figure, goal in goals:
        print(f"{what:42}  {figure:8.1f} ms   goal {goal}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"{'memory of the process':42}  {memory:8.0f} MB   goal 300")


def timed(library: Library, page: str, **query: str) -> float:
    """Milliseconds until a page's answer is there as JSON."""
    asked = {"run": next(iter(library.rows())), **query}
    asked["from"] = asked.pop("start", "0")
    began = time.perf_counter()
    to_json(PAGES[page](library, asked))
    return (time.perf_counter() - began) * 1e3


def write_run(run: Path) -> float:
    """157 steps of 64 rollouts, one group of long ones and a longer one.

    Returns the median of the milliseconds that a step waited for its record.
    """
    run.mkdir(parents=True)
    RunState("finished", 159, 159).save(run)
    (run / "config.yaml").write_text("name: run\n")
    writer = RolloutWriter(run)
    step = [
        RolloutGroup(f"s-{g}", {}, [rollout(f"s-{g}-{n}", 300) for n in range(8)]) for g in range(8)
    ]
    waits = []
    for number in range(1, 158):
        waits.append(measure(lambda number=number: writer.write(number, step, None)))
        writer.drain()
    writer.write(158, [RolloutGroup("g", {}, [rollout(f"l{n}", 4000) for n in range(8)])], None)
    writer.write(159, [RolloutGroup("g", {}, [rollout("r", 32_000)])], None)
    writer.close()
    return sorted(waits)[len(waits) // 2]


def live_cost(run: Path) -> float:
    """Milliseconds of processor time that a step of 20 s pays for saying what is under way."""
    running, phases = Running(), Phases()
    live = LiveFile(run, 9, phases, running.now)
    with ExitStack() as opened:
        task = {"question": "How many apples are left? " * 20}
        begun = [opened.enter_context(running.begun(f"s-{n}", {**task, "n": n})) for n in range(64)]
        idle = sleeps(begun)
        with phases.begun("rollouts", 64):
            live.begin(0)
            busy = sleeps(begun)
        for phase in ("learning", "handing over weights"):
            before = time.process_time()
            with phases.begun(phase):
                live.begin(0)
                busy += time.process_time() - before
    live.end()
    return (busy - idle) * 1e3


def sleeps(begun: list[Begun]) -> float:
    """Processor time in which twenty seconds pass, and something changes all the while."""
    before = time.process_time()
    for number in range(100):
        time.sleep(0.2)
        begun[number % 64].attempt += 1
    return time.process_time() - before


def repeat_index(run: Path, other: Path) -> None:
    """A run whose index has a million lines."""
    (other / "rollouts").mkdir(parents=True)
    RunState("finished", 1, 1).save(other)
    first, *lines = index_path(run).read_text().splitlines(keepends=True)
    with index_path(other).open("w") as file:
        file.write(first)
        for at in range(MILLION):
            file.write(lines[at % 10_000])


def rollout(name: str, length: int) -> Rollout:
    """One call with random tokens and numbers."""
    rng = random.Random(name)
    prompt = [rng.randrange(TOKEN_IDS) for _ in range(200)]
    ids = [rng.randrange(TOKEN_IDS) for _ in range(length)]
    columns = {key: [rng.random() for _ in ids] for key in ("learner", "entropy")}
    sampled = Sampled([-rng.random() for _ in ids], [False] * length, "policy", 0, columns=columns)
    text = " ".join(map(str, ids))
    answer = {"role": "assistant", "content": text}
    call = Call(1, [{"role": "user", "content": "?" * 200}], None, answer, "stop")
    trajectory = Trajectory([Segment(None, prompt), Segment(0, ids, sampled)], [call])
    return Rollout(name, {"question": name}, trajectory, reward=rng.random(), response=text)


def measure(work: Callable[[], object]) -> float:
    """Milliseconds that it takes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    if len(sys.argv) > 1:
        look_at(Path(sys.argv[1]))
    else:
        main()
