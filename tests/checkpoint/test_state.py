from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from agentscope_tuner.checkpoint.random_state import random_state, restore_random_state
from agentscope_tuner.checkpoint.state import load_state, save_state
from agentscope_tuner.errors import RunError


def test_tensors_and_plain_values_come_back_as_they_were(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.ones(3)
    optimizer.step()
    state = {
        "optimizer": optimizer.state_dict(),
        "cursor": {"epoch": 2, "order": [3, 1, 2], "name": None},
        "bf16": torch.tensor([1.5], dtype=torch.bfloat16),
        "numpy": np.random.default_rng(0).bit_generator.state,
    }
    save_state(tmp_path / "state.pt", state)
    loaded = load_state(tmp_path / "state.pt")
    assert loaded["cursor"] == state["cursor"]
    assert loaded["numpy"] == state["numpy"]
    assert torch.equal(loaded["bf16"], state["bf16"])
    moments = loaded["optimizer"]["state"][0]["exp_avg"]
    assert torch.equal(moments, optimizer.state_dict()["state"][0]["exp_avg"])


@pytest.mark.parametrize("value", [np.float64(1), np.zeros(2), object(), {1, 2}])
def test_what_could_not_be_read_back_is_refused_when_it_is_saved(
    tmp_path: Path, value: object
) -> None:
    with pytest.raises(TypeError, match=r"state\['a'\]\[1\] is a "):
        save_state(tmp_path / "state.pt", {"a": [0, value]})


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"no state")
    with pytest.raises(RunError, match=r"state\.pt cannot be read"):
        load_state(tmp_path / "state.pt")


def draw() -> list[float]:
    return [random.random(), random.gauss(), np.random.normal(), torch.rand(()).item()]


def test_random_streams_go_on_where_they_were(tmp_path: Path) -> None:
    draw()
    save_state(tmp_path / "random.pt", random_state())
    expected = draw()
    draw()
    restore_random_state(load_state(tmp_path / "random.pt"))
    assert draw() == expected
