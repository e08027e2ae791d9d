"""Runs on two nodes, struck at random moments and gone on with: all end like the run alone.

`make storm-cluster`; `python -m storm --hits 8` for a short one. What is struck: a rollout actor
(SIGKILL), one that hangs for a while (SIGSTOP, SIGCONT), a node (SIGKILL of its raylet; another
joins), the driver (SIGKILL; the run is resumed).
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
from ray.cluster_utils import Cluster
from two_nodes import add_node, two_nodes

from agentscope_tuner.inference.loading import resolve_model
from attack.program import OUTPUT, PROGRAM, start, write_data
from attack.report import table, write_section
from attack.sameness import differences
from tiny_llama import SMOL, write_tiny_llama

HITS = 40
HITS_A_RUN = 8
STEPS = 40
SEED = 11
RUN_S = 900.0
MARK = "ASTUNER_STORM"
"""In the environment of a storm's processes: its own."""
PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
LEFT_S = 20.0
"""Within which nothing of a run that is gone is left."""


class Storm:
    """One cluster, one run after the other on it."""

    def __init__(self, directory: Path, cluster: Cluster, program: list[str]) -> None:
        self.directory = directory
        self.cluster = cluster
        self.program = program
        self.random = random.Random(SEED)
        self.hits: Counter[str] = Counter()
        self.blows: Mapping[str, Callable[[BaseProcess], None]] = {
            "a rollout actor": self._kill_actor,
            "a rollout actor hangs for 3 s": self._stop_actor,
            "a node (its raylet), and another joins": self._kill_node,
            "the driver, and the run is resumed": self._kill_driver,
        }

    def run(self, name: str, hits: int) -> dict[str, str]:
        """Run under a name, strike so often, go on until it is done; what is not alike then."""
        process = self._start(name)
        deadline = time.monotonic() + RUN_S
        while process.exitcode is None and time.monotonic() < deadline:
            time.sleep(self.random.uniform(2.0, 6.0))
            process.join(0)
            if process.exitcode is None and hits and self._actors():
                blow = self.random.choice(list(self.blows))
                self.blows[blow](process)
                self.hits[blow] += 1
                hits -= 1
            if process.exitcode == -signal.SIGKILL:
                self._await_nobody()
                process = self._start(name)
        if process.exitcode != 0:
            process.kill()
            return {"exit": f"{process.exitcode}: {(self.directory / OUTPUT).read_text()[-3000:]}"}
        self._await_nobody()
        runs = self.directory / "checkpoints" / "AgentScope"
        return differences(runs / name, runs / "alone")

    def _start(self, name: str) -> BaseProcess:
        on = [f"cluster.ray_address={self.cluster.address}"]
        on += ["explorer.rollout_model.engine_num=2"]
        return start_run(self.directory, name, on, self.program)

    def _actors(self) -> list[psutil.Process]:
        """Those of this storm."""
        return [process for process in psutil.process_iter() if _is_actor(process)]

    def _kill_actor(self, driver: BaseProcess) -> None:
        self.random.choice(self._actors()).send_signal(signal.SIGKILL)

    def _stop_actor(self, driver: BaseProcess) -> None:
        actor = self.random.choice(self._actors())
        actor.send_signal(signal.SIGSTOP)
        time.sleep(3.0)
        actor.send_signal(signal.SIGCONT)

    def _kill_node(self, driver: BaseProcess) -> None:
        (node,) = self.cluster.worker_nodes
        raylet = node.all_processes["raylet"][0].process
        os.kill(raylet.pid, signal.SIGKILL)
        self.cluster.remove_node(node, allow_graceful=False)
        add_node(self.cluster)

    def _kill_driver(self, driver: BaseProcess) -> None:
        driver.kill()
        driver.join()

    def _await_nobody(self) -> None:
        deadline = time.monotonic() + LEFT_S
        while self._actors():
            if time.monotonic() > deadline:
                raise SystemExit(f"actors are left behind: {self._actors()}")
            time.sleep(0.2)


def start_run(directory: Path, name: str, settings: list[str], program: list[str]) -> BaseProcess:
    """Start the run, or go on with it."""
    given = [f"name={name}", "deterministic=true", f"buffer.total_steps={STEPS}"]
    given += ["explorer.eval_interval=10", "trainer.save_interval=5", "trainer.keep_last=1"]
    given += settings
    options = [part for setting in given for part in ("--set", setting)]
    return start(directory, "run", PROGRAM, *options, *program)


def _is_actor(process: psutil.Process) -> bool:
    try:
        line = process.cmdline()
        return (
            bool(line)
            and line[0].startswith("ray::RolloutWorker")
            and process.environ().get(MARK) == str(os.getpid())
        )
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return False


def storm(directory: Path, hits: int) -> list[str]:
    """The lines to report. Exits if a run ends otherwise than the one alone."""
    model = write_tiny_llama(directory / "model", resolve_model(SMOL))
    program = [str(model), str(write_data(directory / "data"))]
    alone = start_run(directory, "alone", [], program)
    alone.join(RUN_S)
    if alone.exitcode != 0:
        raise SystemExit((directory / OUTPUT).read_text()[-3000:])
    with two_nodes() as cluster:
        storm = Storm(directory, cluster, program)
        runs = 0
        while (left := hits - sum(storm.hits.values())) > 0:
            runs += 1
            different = storm.run(f"struck-{runs}", min(left, HITS_A_RUN))
            print(f"run {runs}: {dict(storm.hits)}", flush=True)
            if different:
                raise SystemExit(f"run {runs} ended otherwise: {different}")
    return [
        f"{sum(storm.hits.values())} hits at {runs} runs of {STEPS} steps on two nodes; each ended "
        "equal, bit by bit, to the run on one machine that was left alone (rollouts, metrics, "
        f"weights, optimizer), and no actor was left behind (seed {SEED}).",
        "",
        *table(["struck", "hits"], sorted(storm.hits.items())),
    ]


def main() -> None:
    """Storm, and write what came of it."""
    parser = argparse.ArgumentParser(prog="storm")
    parser.add_argument("--hits", type=int, help="fewer, and only printed")
    hits = parser.parse_args().hits
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled", MARK: str(os.getpid())}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        lines = storm(Path(place), hits or HITS)
    print("\n".join(lines))
    if hits is None:
        write_section("storm", lines, (time.monotonic() - began) / 60, PAGE, "make storm-cluster")


if __name__ == "__main__":
    main()
