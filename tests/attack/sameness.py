"""In which files two run directories differ: by every bit but what a clock says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import zstandard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agentscope_tuner.checkpoint.state import load_state
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.monitor.jsonl import read_metrics
from agentscope_tuner.runs.card import CARD
from agentscope_tuner.runs.index import index_path, read_lines

CLOCKS = ("time/", "throughput/", "seconds")
"""In the keys of metrics that a clock decides."""
TIMES = {"seconds", "began", "judge_seconds", "log", "offset", "length"}
"""Fields of a rollout, or of its line in the index, that a clock decides."""
MADE_ANEW = {"manifest.json", ".metadata"}
"""Files of a checkpoint that have checksums of the others, what a clock said, or a drawn number."""
LEFTOVERS = (".tmp", ".old", ".retired")
OVERLAP = "synchronizer.overlap"
"""The setting that two runs may differ in, as it is to change nothing; a model card names it."""


def differences(run: Path, expected: Path) -> dict[str, str]:
    """What is not alike, by the file's path in the run; empty if it is the same run.

    The same metrics, rollouts, weights, optimizer and events; nothing twice, nothing left over.
    `run` may have more checkpoints than `expected`: a stop saves one.
    """
    found = {}
    for name, read in _parts(expected):
        try:
            _compare(read(run), read(expected), "")
        except Exception as error:  # a damaged file may raise anything when it is read
            found[name] = repr(error)
    for path in run.rglob("*"):
        if any(role in path.name for role in LEFTOVERS):
            found[path.relative_to(run).as_posix()] = "left over"
    rollouts, wanted = (_names(path / "rollouts") for path in (run, expected))
    if rollouts != wanted:
        found["rollouts"] = f"{sorted(rollouts ^ wanted)}"
    last, last_wanted = (
        max(CheckpointStore(path).steps(), default=None) for path in (run, expected)
    )
    if last != last_wanted:
        found["checkpoints"] = f"the last is of step {last}, not {last_wanted}"
    return found


Read = Callable[[Path], Any]
"""Gives what counts of a part of the run in a directory."""


def _parts(expected: Path) -> Iterator[tuple[str, Read]]:
    yield "metrics.jsonl", _metrics
    yield "monitor", _events
    yield "rollouts/index.jsonl", _index
    for path in sorted((expected / "tokenizer").iterdir()):
        name = path.relative_to(expected)
        yield name.as_posix(), _read_at(name, Path.read_bytes)
    for path in sorted((expected / "rollouts").glob("*.zst")):
        yield path.relative_to(expected).as_posix(), _read_at(path.relative_to(expected), _rollouts)
    for checkpoint in CheckpointStore(expected).steps().values():
        for path in sorted(checkpoint.rglob("*")):
            if path.is_file() and path.name not in MADE_ANEW:
                name = path.relative_to(expected)
                yield name.as_posix(), _read_at(name, _checkpoint_file)


def _read_at(name: Path, read: Read) -> Read:
    def read_part(run: Path) -> Any:
        step = name.parts[0]
        if step.startswith("global_step_") and not (run / step).exists():
            return None  # retired: which ones stay is told by their names
        return read(run / name)

    return read_part


def _checkpoint_file(path: Path) -> Any:
    if path.name == CARD:
        named = f"# {path.parents[1].name}, step"
        lines = path.read_text().replace(named, "# run, step").splitlines()
        return [line for line in lines if OVERLAP not in line]
    if path.suffix != ".pt":
        return path.read_bytes()
    state = load_state(path)
    loop = state.get("loop", {})
    for held in (*loop.get("ahead", ()), *([loop["replay"]] if loop.get("replay") else [])):
        drawn = json.loads(zstandard.decompress(held["groups"]))
        held |= {"groups": _without_times(drawn), "seconds": 0, "used_at": 0}
    return state


def _metrics(run: Path) -> list[dict[str, float]]:
    return [
        {key: value for key, value in record.items() if not any(c in key for c in CLOCKS)}
        for record in read_metrics(run / "metrics.jsonl")
    ]


def _rollouts(path: Path) -> list[Any]:
    decompressor = zstandard.ZstdDecompressor()
    with (
        path.open("rb") as file,
        decompressor.stream_reader(file, read_across_frames=True) as reader,
    ):
        return [_without_times(json.loads(line)) for line in reader.read().splitlines()]


def _index(run: Path) -> list[Any]:
    """In the order of the files, which it may have been put together from."""
    lines = [_without_times(line) for line in read_lines(index_path(run))]
    return sorted(lines, key=lambda line: (line["file"], line["id"]))


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return value


def _events(run: Path) -> dict[str, list[tuple[int, float]]]:
    board = EventAccumulator(str(run / "monitor" / "tensorboard"), size_guidance={"scalars": 0})
    board.Reload()
    return {
        key: [(event.step, event.value) for event in board.Scalars(key)]
        for key in sorted(board.Tags()["scalars"])
        if not any(clock in key for clock in CLOCKS)
    }


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def _compare(value: Any, expected: Any, where: str) -> None:
    """Raise ValueError, which says where, if nested values and tensors are not equal."""
    if type(value) is not type(expected):
        same = False
    elif isinstance(expected, torch.Tensor):
        same = torch.equal(value, expected)
    elif isinstance(expected, dict):
        same = value.keys() == expected.keys()
        for key in expected if same else ():
            _compare(value[key], expected[key], f"{where}[{key!r}]")
    elif isinstance(expected, list | tuple):
        same = len(value) == len(expected)
        for index, (item, wanted) in enumerate(zip(value, expected, strict=False)):
            _compare(item, wanted, f"{where}[{index}]")
    else:
        same = value == expected
    if not same:
        raise ValueError(f"{where}: {str(value)[:80]} instead of {str(expected)[:80]}")
