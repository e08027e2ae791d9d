"""`astuner compare`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Astuner

RUNS = ("checkpoints/P/first", "checkpoints/P/second")


@pytest.fixture
def second(astuner: Astuner, tuned: Path) -> Path:
    """A run beside the first whose learning rate is another."""
    run = ("run", "main.py", "--set", "name=second", "--set", "algorithm.optimizer.lr=0.1")
    assert astuner(*run).code == 0
    return tuned.with_name("second")


def test_what_differs_comes_first_then_curves_then_the_paired_change(
    astuner: Astuner, second: Path
) -> None:
    ended = astuner("compare", *RUNS)
    assert ended.code == 0
    out = ended.out
    rate, curve = out.index("algorithm.optimizer.lr"), out.index("trained tokens")
    assert rate < curve < out.index("P/second on test: ")
    assert "over 4 tasks (steps 2, 2)" in " ".join(out.split())

    plain = json.loads(astuner("compare", *RUNS, "--json").out)
    assert plain["differs"]["algorithm.optimizer.lr"] == {"P/first": 0.001, "P/second": 0.1}
    assert plain["curves"]["P/first"]["steps"] == [1, 2]
    [change] = plain["changes"]
    assert (change["run"], change["tasks"]) == ("P/second", 4)


def test_one_run_cannot_be_compared(astuner: Astuner, tuned: Path) -> None:
    assert "two runs or more" in astuner("compare", tuned).err
    assert astuner("compare", tuned, tuned).code == 2
