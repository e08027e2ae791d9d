"""Runs of every shape, struck at every kind of moment and gone on with: all end alike."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.inference.loading import resolve_model
from attack.blows import SIGNALS, Blow, ended
from attack.program import OUTPUT, PROGRAM, start, write_data
from attack.report import table
from attack.sameness import differences
from attack.variants import VARIANTS, Variant
from tiny_llama import SMOL, write_tiny_llama

T = TypeVar("T")

PATIENCE_S = 180.0
SEED = 9
WORKERS = 2
BLOWS = 10
"""At a run, if it does not end before."""
STOPPED = (130, 143)
"""Exit codes after SIGINT and SIGTERM."""
BEGUN = RunState("running", 0, 0)
"""Of a run that died before it said anything."""


@dataclass
class Tally:
    """What was done to runs, and what came of it."""

    runs: Counter[str] = field(default_factory=Counter)
    """That ended like the one that was left alone, by variant."""
    blows: Counter[str] = field(default_factory=Counter)
    """That hit, by their signals."""
    writes: Counter[str] = field(default_factory=Counter)
    """The same by the kind of write that they hit."""
    exits: Counter[tuple[str, int]] = field(default_factory=Counter)
    resumed: int = 0
    """Starts from a checkpoint."""

    def add(self, other: Tally) -> None:
        for name in ("runs", "blows", "writes", "exits"):
            getattr(self, name).update(getattr(other, name))
        self.resumed += other.resumed


@dataclass(frozen=True, slots=True)
class Ground:
    """Where runs of one variant are attacked, and what they are held against."""

    variant: Variant
    directory: Path
    model: Path
    data: Path

    def place(self, name: str) -> Path:
        """A working directory in which the run's own directory is there to be watched."""
        place = self.directory / name
        run_of(place).mkdir(parents=True)
        return place

    @property
    def program(self) -> list[str]:
        """The script and its arguments, for `astuner`."""
        return [PROGRAM, str(self.model), str(self.data)]

    def start(self, place: Path) -> BaseProcess:
        return start(place, "run", *self.program, *self.variant.options)


def run_of(place: Path) -> Path:
    return place / "checkpoints" / "AgentScope" / "run"


def leave_alone(ground: Ground) -> tuple[Path, float]:
    """The run that nothing happens to, and how many seconds it takes."""
    place = ground.place("alone")
    began = time.monotonic()
    code = ended(ground.start(place), PATIENCE_S)
    assert code == 0, (place / OUTPUT).read_text()
    return run_of(place), time.monotonic() - began


def attack(ground: Ground, name: str, blows: Sequence[Blow], expected: Path) -> Tally:
    """Strike one run with every blow, going on after each; then let it end, and compare it."""
    place = ground.place(name)
    run, tally = run_of(place), Tally()
    try:
        for blow in [*blows, None]:
            tally.resumed += bool(CheckpointStore(run).steps())
            process = ground.start(place)
            hit = blow is not None and blow.strike(process, run)
            code = ended(process, PATIENCE_S)
            if blow is not None and hit:
                tally.blows[blow.signals] += 1
                tally.writes[blow.write or "any moment"] += 1
                tally.exits[blow.signals, code] += 1
            assert_survived(run, code, blow if hit else None)
            if (RunState.load(run) or BEGUN).status == "finished":
                break
        else:
            raise AssertionError("the run does not end")
        differ = differences(run, expected)
        assert not differ, f"differ: {differ}"
        said = (place / OUTPUT).read_text()
        assert "Traceback" not in said, said
    except AssertionError as error:
        said = (place / OUTPUT).read_text()[-3000:]
        raise AssertionError(f"{place}, {ground.variant.name}, {blows}: {error}\n{said}") from error
    shutil.rmtree(place)
    tally.runs[ground.variant.name] += 1
    return tally


def assert_survived(run: Path, code: int, blow: Blow | None) -> None:
    """What is there after a process' end is whole, and the process ended as it should."""
    store = CheckpointStore(run)
    for path in store.steps().values():
        assert store.verify(path) == [], path
    state = RunState.load(run) or BEGUN
    if code == 0:
        assert state.status == "finished"
        return
    assert blow is not None, f"exit code {code}"
    if blow.signals == "SIGKILL":
        assert code == -signal.SIGKILL
        return
    assert code in {128 + number for number in SIGNALS[blow.signals]}
    if state.status == "interrupted":
        assert state.step in store.steps(), "a graceful stop saves its step"


def attack_runs(directory: Path, light: bool) -> list[str]:
    """At least 200 blows that hit, at least 40 runs, over all variants."""
    kills, runs = (14, len(VARIANTS)) if light else (200, 42)
    model, data = (
        write_tiny_llama(directory / "model", resolve_model(SMOL), heads=1),
        directory / "data",
    )
    write_data(data)
    grounds = [
        Ground(variant, directory / str(index), model, data)
        for index, variant in enumerate(VARIANTS)
    ]
    rng, tally = random.Random(SEED), Tally()
    with ThreadPoolExecutor(WORKERS) as pool:
        alone = list(pool.map(leave_alone, grounds))
        for number in count():
            if sum(tally.blows.values()) >= kills and sum(tally.runs.values()) >= runs:
                return _lines(tally)
            jobs = []
            for ground, (expected, seconds) in zip(grounds, alone, strict=True):
                blows = [Blow.draw(rng, seconds, ground.variant.never) for _ in range(BLOWS)]
                jobs.append(pool.submit(attack, ground, f"run-{number}", blows, expected))
            for job in as_completed(jobs):
                tally.add(result_of(job, pool))
            hit, ends = sum(tally.blows.values()), sum(tally.runs.values())
            print(f"{hit} hits, {ends} runs that ended alike", flush=True)
    raise AssertionError("unreachable")


def result_of(job: Future[T], pool: ThreadPoolExecutor) -> T:
    """What came of a job; if it failed, the others do not begin."""
    try:
        return job.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _lines(tally: Tally) -> list[str]:
    hit, ends = sum(tally.blows.values()), sum(tally.runs.values())
    return [
        f"{hit} times a run was struck and gone on with ({tally.resumed} starts were from a "
        f"checkpoint); {ends} runs of {len(tally.runs)} shapes ended, each equal bit by bit to "
        f"the one of its shape that was left alone (seed {SEED}).",
        "",
        *table(["signals", "hits"], tally.blows.most_common()),
        "",
        *table(["hit at, or just after", "hits"], tally.writes.most_common()),
        "",
        *table(["shape", "runs"], tally.runs.items()),
    ]
