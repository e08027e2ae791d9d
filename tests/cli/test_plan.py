"""`astuner plan`: the first steps of a real run."""

from __future__ import annotations

import json
import mmap
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Astuner

from agentscope_tuner.commands.every_group import EveryGroupTeaches
from agentscope_tuner.commands.peak import PeakMemory
from agentscope_tuner.commands.planning import FirstSteps
from agentscope_tuner.experience.base import reward_of
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Trajectory


def test_a_plan_says_what_the_run_takes_and_leaves_nothing_behind(
    astuner: Astuner, program: Path
) -> None:
    before = set(Path().iterdir())
    ended = astuner("plan", "main.py", "--json", "--per-hour", "3600")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    measured = found["measured"]
    assert (found["steps"], found["saves"], measured["rollouts"]) == (2, 1, 8)
    assert found["evaluated"] == 2 * 4  # at the start and at the end, one sample of four tasks
    assert 0 < measured["phases_s"]["rollout"] < measured["step_s"]
    assert 0 < measured["phases_s"]["train"] < measured["step_s"]
    assert measured["response_tokens"] <= 8
    assert 0 < measured["teaching"] <= 1
    assert 0 < found["memory_bytes"] < found["free_bytes"]
    assert measured["checkpoint_bytes"] > 1e6  # the tiny model's embeddings alone
    assert found["price"] == pytest.approx(found["hours"] * 3600)
    assert found["hours"] <= found["hours_at_most"]
    assert set(Path().iterdir()) == before


def test_the_run_takes_as_many_bytes_as_were_planned(astuner: Astuner, tuned: Path) -> None:
    found = json.loads(astuner("plan", "main.py", "--json").out)
    checkpoint = sum(p.stat().st_size for p in (tuned / "global_step_2").rglob("*") if p.is_file())
    assert found["measured"]["checkpoint_bytes"] == pytest.approx(checkpoint, rel=0.01)


def test_what_does_not_fit_on_the_disk_ends_with_1(astuner: Astuner, program: Path) -> None:
    long = ("--set", "buffer.total_steps=100000000", "--set", "trainer.save_interval=1")
    ended = astuner("plan", "main.py", *long)
    assert ended.code == 1
    assert "it does not fit" in ended.out
    assert "disk: trainer.keep_last=1 keeps" in ended.out


def test_models_that_do_not_fit_are_not_loaded(
    astuner: Astuner, program: Path, tiny_model: Path, tmp_path: Path
) -> None:
    giant = tmp_path / "giant"
    shutil.copytree(tiny_model, giant)
    config = json.loads((giant / "config.json").read_text())
    (giant / "config.json").write_text(json.dumps(config | {"intermediate_size": 1 << 33}))
    ended = astuner("plan", "main.py", "--set", f"model.model_path={giant}")
    assert ended.code == 1, ended.err
    assert "for the models alone, by their size" in ended.out
    assert "it does not fit" in ended.out


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("mode=bench", "trains nothing"),
        ("cluster.ray_address=auto", "this run is for a cluster"),
        ("buffer.total_step=1", "buffer.total_step"),
    ],
)
def test_bad_input_is_a_sentence(astuner: Astuner, program: Path, setting: str, says: str) -> None:
    ended = astuner("plan", "main.py", "--set", setting)
    assert ended.code == 2
    assert says in " ".join(ended.err.split())


def test_groups_that_teach_nothing_are_planned_for_as_such(astuner: Astuner, program: Path) -> None:
    text = program.read_text()
    program.write_text(
        text.replace('float(len(response.get_text_content() or "") % 2 == 0)', "1.0")
    )
    measured = json.loads(astuner("plan", "main.py", "--json").out)["measured"]
    assert measured["teaching"] == 0


def test_steps_are_made_to_teach_and_the_rewards_that_are_recorded_stay() -> None:
    groups = [
        RolloutGroup(f"{step}-0", {}, [Rollout(str(n), {}, Trajectory(), 1.0) for n in range(8)])
        for step in ("step3", "step3-more1", "step2", "step30")
    ]
    EveryGroupTeaches(since=3)(groups)
    learnt = [{reward_of(rollout) for rollout in group.rollouts} for group in groups]
    assert [len(rewards) for rewards in learnt] == [8, 8, 1, 8]
    assert all(group.rewards == [1.0] * 8 for group in groups)


def fresh(count: int) -> np.ndarray:
    """So many float64, in pages that the process did not have: its heap keeps what others freed."""
    block = np.frombuffer(mmap.mmap(-1, 8 * count))
    block += 1
    return block


def test_a_peak_that_is_over_is_remembered() -> None:
    with PeakMemory(torch.device("cpu")) as memory:
        block = fresh(20_000_000)
        for _ in range(50):
            block += 1
        del block
    assert 140e6 < memory.peak < 400e6


def test_steps_are_taken_until_one_takes_no_more_memory() -> None:
    with PeakMemory(torch.device("cpu")) as memory:
        steps, blocks, ended = FirstSteps(memory), [], []
        for number in range(1, 6):
            if number < 5:
                blocks.append(fresh(10_000_000))
            ended.append(steps.on_step(number, {}))
    assert ended == [False, False, False, False, True]
