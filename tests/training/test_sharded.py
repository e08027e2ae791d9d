"""Two processes learn what one learns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import two_ranks
from tiny_training import make_learner, make_model
from two_ranks import FAMILIES, PACK, SETTINGS, learnt

from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.packing import PackSize
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


def alone(family: str, updates: int) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    learner = make_learner(make_model(family), optimizer=SETTINGS, pack_size=PackSize(PACK))
    results = [learnt(learner, get_algorithm(), seed) for seed in range(1, updates + 1)]
    return results, learner.weights()


def assert_alike(told: dict[str, Any], results: list[dict[str, Any]], weights: Any) -> None:
    for result, expected in zip(told["results"], results, strict=True):
        assert result["metrics"] == pytest.approx(expected["metrics"], rel=1e-6, abs=1e-6)
        for part in ("before", "columns"):
            torch.testing.assert_close(result[part], expected[part], equal_nan=True, **NEAR)
    torch.testing.assert_close(told["weights"], weights, **NEAR)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_ranks_have_the_loss_the_norm_and_the_weights_of_one(
    outcome: Path, family: str
) -> None:
    results, weights = alone(family, updates=2)
    # One rank has one less.
    assert any(result["metrics"]["train/packs"] % 2 for result in results)
    for rank in (0, 1):
        assert_alike(torch.load(outcome / f"{family}-{rank}.pt"), results, weights)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_rank_goes_on_where_two_stopped(outcome: Path, family: str) -> None:
    results, weights = alone(family, updates=3)
    assert_alike(torch.load(outcome / f"{family}-resumed.pt"), results[2:], weights)


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
