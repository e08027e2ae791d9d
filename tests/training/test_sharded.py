"""Two processes learn what one learns."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import two_ranks
from safetensors.torch import load_file
from two_ranks import CRITICS, LEARNERS, further, learnt, open_critic, open_learner, valued

from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.training.critic import LocalCritic
from agentscope_tuner.training.learner import LocalLearner
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.sharded.deal import packs_of

NEAR = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes, and then one that goes on alone, have written."""
    directory = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, two_ranks.__file__]
    ranks = [subprocess.Popen([*command, str(rank), str(directory)]) for rank in (0, 1)]
    try:
        assert [rank.wait(timeout=240) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    return directory


def alone(name: str, seeds: Sequence[int]) -> tuple[list[dict[str, Any]], Any]:
    """What one process learns, and the weights then."""
    if name in CRITICS:
        critic = open_critic(LocalCritic, name)
        return [valued(critic, seed) for seed in seeds], None
    learner = open_learner(LocalLearner, name)
    results = [learnt(learner, get_algorithm(), seed, *further(name)) for seed in seeds]
    return results, learner.weights()


def assert_alike(
    told: dict[str, Any], results: list[dict[str, Any]], weights: Any, within: float = 1e-6
) -> None:
    for result, expected in zip(told["results"], results, strict=True):
        assert result["metrics"] == pytest.approx(expected["metrics"], rel=within, abs=within)
        for part in ("before", "columns"):
            torch.testing.assert_close(
                result[part], expected[part], equal_nan=True, rtol=10 * within, atol=within
            )
    torch.testing.assert_close(told.get("weights"), weights, rtol=10 * within, atol=within)


@pytest.mark.parametrize("name", [*LEARNERS, *CRITICS])
def test_two_ranks_have_the_loss_the_norm_and_the_weights_of_one(outcome: Path, name: str) -> None:
    results, weights = alone(name, seeds=(1, 2))
    if name in LEARNERS:  # one rank has one less
        assert any(result["metrics"]["train/packs"] % 2 for result in results)
    for rank in (0, 1):
        assert_alike(torch.load(outcome / f"{name}-{rank}.pt"), results, weights)


@pytest.mark.parametrize("name", [*LEARNERS, *CRITICS])
def test_one_rank_goes_on_where_two_stopped(outcome: Path, name: str) -> None:
    results, weights = alone(name, seeds=(1, 2, 3))
    # Adam's first updates make more of a difference in the last bit.
    assert_alike(torch.load(outcome / f"{name}-resumed.pt"), results[2:], weights, within=1e-5)


def test_adapters_are_saved_as_one_process_saves_them(outcome: Path, tmp_path: Path) -> None:
    learner = open_learner(LocalLearner, "adapters")
    for seed in (1, 2):
        learnt(learner, get_algorithm(), seed)
    learner.save(tmp_path)
    saved, expected = (
        load_file(directory / "adapter" / "adapter_model.safetensors")
        for directory in (outcome / "adapters-two", tmp_path)
    )
    torch.testing.assert_close(saved, expected, **NEAR)


def test_every_pack_counts_once_and_all_ranks_have_as_many() -> None:
    empty = np.empty(0, np.int64)
    packs = [
        Pack(
            np.zeros(n, np.int64),
            empty,
            empty,
            empty,
            empty,
            empty,
            np.empty(0, np.float32),
            {},
            {},
        )
        for n in (5, 3, 9, 4, 7)
    ]
    for world in (1, 2, 3, 8):
        dealt = [packs_of(packs, rank, world) for rank in range(world)]
        assert len({len(own) for own in dealt}) == 1
        counted = [id(pack) for own in dealt for pack, counts in own if counts]
        assert sorted(counted) == sorted(map(id, packs))
    assert packs_of([], 0, 2) == []
