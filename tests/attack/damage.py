"""Every file of a run directory, damaged in turn: no traceback, nothing that is whole is lost."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.inference.loading import resolve_model
from attack.blows import Blow, ended
from attack.kills import PATIENCE_S, STOPPED, WORKERS, Ground, leave_alone, result_of, run_of
from attack.program import OUTPUT, start, write_data
from attack.report import table
from attack.sameness import differences
from attack.variants import VARIANTS
from tiny_llama import SMOL, write_tiny_llama

Damage = Callable[[Path, random.Random], None]


def _delete(path: Path, rng: random.Random) -> None:
    path.unlink()


def _empty(path: Path, rng: random.Random) -> None:
    _replace(path, b"")


def _cut(path: Path, rng: random.Random) -> None:
    _replace(path, path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes() or b"\0")
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    _replace(path, bytes(content))


def _fill(path: Path, rng: random.Random) -> None:
    _replace(path, rng.randbytes(min(path.stat().st_size, 1 << 16) or 16))


def _make_directory(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _replace(path: Path, content: bytes) -> None:
    path.unlink()  # the file is a link into the run that is kept
    path.write_bytes(content)


DAMAGES: dict[str, Damage] = {
    "deleted": _delete,
    "emptied": _empty,
    "cut in half": _cut,
    "a bit flipped": _flip,
    "random bytes": _fill,
    "a directory": _make_directory,
}
SOME = ("deleted", "cut in half", "a bit flipped")
"""For the files of checkpoints, which checksums hold together."""
REFUSED = {"config.yaml", "run_state.json"}
"""What a run cannot go on without; nor where a directory keeps it from writing a file."""
BAD_INPUT = 2


@dataclass
class Tally:
    """What was damaged, and how the commands ended on it."""

    damages: Counter[str] = field(default_factory=Counter)
    """By kind."""
    files: set[str] = field(default_factory=set)
    ends: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By command and exit code."""

    def add(self, other: Tally) -> None:
        self.damages.update(other.damages)
        self.files |= other.files
        self.ends.update(other.ends)


@dataclass(frozen=True, slots=True)
class Case:
    """One file, damaged in one way."""

    file: str
    """Relative to the run directory."""
    damage: str
    seed: int

    def __str__(self) -> str:
        return f"{self.file}, {self.damage} (seed {self.seed})"


def cases(run: Path) -> Iterator[Case]:
    """Every file of the run, in every way that tells something."""
    for path in sorted(run.rglob("*")):
        if path.is_file():
            file = path.relative_to(run)
            kinds = SOME if file.parts[0].startswith("global_step_") else DAMAGES
            for seed, kind in enumerate(kinds):
                yield Case(file.as_posix(), kind, seed)


def stopped_run(ground: Ground) -> Path:
    """The working directory of a run that was stopped with two checkpoints, before its end."""
    place = ground.place("stopped")
    process = ground.start(place)
    assert Blow("SIGTERM", "checkpoint begins", 2, 0.0, 0.0).strike(process, run_of(place))
    assert ended(process, PATIENCE_S) in STOPPED, (place / OUTPUT).read_text()
    return place


def damage_one(ground: Ground, stopped: Path, expected: Path, case: Case, name: str) -> Tally:
    """Damage one file of a copy, and let every command meet it."""
    place = ground.directory / name
    _copy(stopped, place)
    run = run_of(place)
    DAMAGES[case.damage](run / case.file, random.Random(case.seed))
    tally = Tally(Counter([case.damage]), {case.file})
    try:
        before = _contents(run)
        for command in ("runs", "export", "evaluate"):
            tally.ends[command, _call(ground, place, command)] += 1
            assert _contents(run) == before, f"{command} changed the run"
        assert not any(code for (_, code) in tally.ends), f"{tally.ends}"
        code = _call(ground, place, "resume")
        tally.ends["resume", code] += 1
        if code:
            may_refuse = case.file in REFUSED or case.damage == "a directory"
            assert may_refuse, f"resuming is refused: {code}"
            if code == BAD_INPUT:
                assert _contents(run) == before, "what was refused changed the run"
        else:
            differ = differences(run, expected)
            allowed = {case.file, case.file.partition("/")[0]}
            if case.file.startswith("rollouts/"):
                allowed.add("rollouts/index.jsonl")  # what is not there is not in the index
            assert not differ.keys() - allowed, differ
        _assert_kept(before, _contents(run), case.file)
        said = (place / OUTPUT).read_text()
        assert "Traceback" not in said
    except AssertionError as error:
        said = (place / OUTPUT).read_text()[-3000:]
        raise AssertionError(f"{ground.variant.name}: {case}: {error}\n{said}") from error
    shutil.rmtree(place)
    return tally


def _call(ground: Ground, place: Path, command: str) -> int:
    run = run_of(place).relative_to(place).as_posix()
    if command == "runs":
        process = start(place, "runs")
    elif command == "export":
        process = start(place, "export", run, "exported")
    elif command == "evaluate":
        process = start(place, "evaluate", *ground.program, "--model", run)
    else:
        process = start(place, "run", *ground.program, *ground.variant.options, "--resume")
    return ended(process, PATIENCE_S)


def _copy(stopped: Path, place: Path) -> None:
    """Checkpoints are never written in place, so their files may be links; the others may not."""

    def copy(source: str, target: str) -> str:
        if "/global_step_" in source:
            os.link(source, target)
            return target
        return shutil.copy2(source, target)

    shutil.copytree(stopped, place, copy_function=copy)


def _contents(run: Path) -> dict[str, tuple[int, bytes]]:
    """Of every file but the lock: what tells whether it was changed."""
    return {
        path.relative_to(run).as_posix(): (path.stat().st_ino, b"")
        if path.stat().st_size > 1 << 20
        else (0, path.read_bytes())
        for path in run.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def _assert_kept(
    before: dict[str, tuple[int, bytes]], after: dict[str, tuple[int, bytes]], damaged: str
) -> None:
    """Whole checkpoints, and rollouts of the steps that they have seen, are as they were."""
    checkpoint = damaged.partition("/")[0]
    newest = 1 if checkpoint == "global_step_2" else 2
    for name, content in before.items():
        top = name.partition("/")[0]
        whole = top.startswith("global_step_") and top != checkpoint
        seen = any(name.startswith(f"rollouts/step_{step}.") for step in range(1, newest + 1))
        if (whole or seen) and name != damaged:
            assert after.get(name) == content, f"{name} was lost or changed"


def attack_directories(directory: Path, light: bool) -> list[str]:
    """Every file of a run of full tuning, and of the newest checkpoint of one with adapters."""
    model, data = (
        write_tiny_llama(directory / "model", resolve_model(SMOL), heads=1),
        directory / "data",
    )
    write_data(data)
    tally = Tally()
    with ThreadPoolExecutor(WORKERS) as pool:
        for variant in VARIANTS[:2]:
            ground = Ground(variant, directory / variant.name.replace(" ", "-"), model, data)
            expected, _ = leave_alone(ground)
            stopped = stopped_run(ground)
            assert sorted(CheckpointStore(run_of(stopped)).steps()) == [1, 2]
            wanted = [
                case
                for case in cases(run_of(stopped))
                if variant is VARIANTS[0] or case.file.startswith("global_step_2/")
            ]
            jobs = [
                pool.submit(damage_one, ground, stopped, expected, case, f"damaged-{number}")
                for number, case in enumerate(wanted[:: 8 if light else 1])
            ]
            for job in as_completed(jobs):
                tally.add(result_of(job, pool))
            print(f"{variant.name}: {len(jobs)} damages", flush=True)
    return _lines(tally)


def _lines(tally: Tally) -> list[str]:
    damages = sum(tally.damages.values())
    kinds = ", ".join(f"{kind} {number}" for kind, number in tally.damages.items())
    ends = sorted(tally.ends.items())
    return [
        f"{damages} times one of {len(tally.files)} files was damaged ({kinds}), each time in a "
        "fresh copy of a run that was stopped in its middle. No command printed a traceback; what "
        "was refused changed nothing; what went on ended like the run that was left alone, the "
        "damaged file itself aside.",
        "",
        *table(["command", "exit code", "times"], ([*end, times] for end, times in ends)),
    ]
