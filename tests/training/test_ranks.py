"""A learner on ranks is a learner like any other, and says so when one of them is gone."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch
from tiny_training import make_learner, make_model, random_groups
from two_ranks import PACK, SETTINGS, learnt, valued

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.errors import InputError, RunError
from agentscope_tuner.training.columns import FrozenModel
from agentscope_tuner.training.critic import LocalCritic
from agentscope_tuner.training.packing import PackSize
from agentscope_tuner.training.recipe import Critic, Frozen, Recipe
from agentscope_tuner.training.sharded.group import LearnerGroup
from agentscope_tuner.training.sharded.process import ranks_here

NEAR = {"rtol": 1e-5, "atol": 1e-6}
Open = Callable[..., LearnerGroup]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    make_model("llama").save_pretrained(directory)
    return directory


@pytest.fixture
def open_group(model: Path) -> Iterator[Open]:
    """Starts a learner on ranks, which ends with the test."""
    opened: list[LearnerGroup] = []

    def start(
        ranks: int,
        directory: Path = model,
        checkpoint: Path | None = None,
    ) -> LearnerGroup:
        recipe = Recipe(
            model=directory,
            optimizer=SETTINGS,
            compute_dtype=torch.float32,
            pack_size=PackSize(PACK),
            device_type="cpu",
            checkpoint=checkpoint,
            critic=Critic(model, SETTINGS),
            frozen={"reference": Frozen(model), "teacher": Frozen(model, top=3)},
        )
        opened.append(LearnerGroup(recipe, ranks_here(ranks)))
        return opened[-1]

    yield start
    for group in opened:
        group.release()
    assert processes() == {}


def processes() -> dict[int, psutil.Process]:
    """The processes of ranks, by their rank."""
    found = [
        child
        for child in psutil.Process().children()
        if any("sharded.rank" in part for part in child.cmdline())
    ]
    return dict(enumerate(sorted(found, key=lambda child: child.create_time())))


def test_the_loss_and_the_norm_are_those_of_one_process(
    open_group: Open, model: Path, tmp_path: Path
) -> None:
    group, alone = open_group(2), make_learner(make_model("llama"), optimizer=SETTINGS)
    alone.pack_size = PackSize(PACK)
    for part in (group, group.critic()):
        part.save(tmp_path / "before")  # no update yet, and so nothing in the optimizer
    for seed in (1, 2):
        updated, expected = (learnt(learner, get_algorithm(), seed) for learner in (group, alone))
        assert updated["metrics"] == pytest.approx(expected["metrics"], rel=1e-6, abs=1e-6)
        torch.testing.assert_close(updated["columns"], expected["columns"], equal_nan=True, **NEAR)
    torch.testing.assert_close(group.weights(), alone.weights(), **NEAR)

    batch, by_one = Batch(random_groups(3, groups=3)), Batch(random_groups(3, groups=3))
    group.frozen("reference").forward(batch, {"reference"})
    group.frozen("teacher").forward(batch, {"teacher_top"})
    frozen = FrozenModel(make_model("llama"), dtype=torch.float32, pack_size=PackSize(PACK), top=3)
    frozen.forward(by_one, {"reference", "teacher_top"})
    assert {"reference", "teacher_top", "other_ids"} <= batch.columns.keys()
    torch.testing.assert_close(batch.columns, by_one.columns, **NEAR)

    critic = LocalCritic(make_model("llama"), optimizer=SETTINGS, compute_dtype=torch.float32)
    told, expected = valued(group.critic(), 1)["metrics"], valued(critic, 1)["metrics"]
    assert told == pytest.approx(expected, rel=1e-6, abs=1e-6)

    with pytest.raises(InputError, match="needs a reference model beside one tuned in full"):
        group.forward(batch, {"reference"})
    group.release()

    one = open_group(1, tmp_path / "before", tmp_path / "before")
    again = [learnt(one, get_algorithm(), seed)["metrics"] for seed in (1, 2)]
    assert again[1] == pytest.approx(updated["metrics"], rel=1e-6, abs=1e-6)
    saved = (tmp_path / "before" / "config.json").read_text()
    assert re.search(r'"architectures": \[\s*"LlamaForCausalLM"', saved)


def test_a_rank_that_is_gone_ends_the_run_by_name(open_group: Open) -> None:
    group = open_group(2)
    os.kill(processes()[1].pid, signal.SIGKILL)
    with pytest.raises(RunError) as raised:
        learnt(group, get_algorithm(), 1)
    node = re.escape(socket.gethostname())
    assert re.fullmatch(
        rf"The run cannot go on: learner rank 1 on node {node}, process \d+ \(last sign of life: "
        r"\d\d:\d\d:\d\d\) was ended by SIGKILL\. The last checkpoint is as it was; go on from it "
        r"with --resume\.",
        str(raised.value),
    )
    assert processes() == {}
