"""What a learner on ranks does not serve is refused by name, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agentscope_tuner.build.learner import (
    ranks_of_this_machine,
    refuse_other_learners_checkpoint,
)
from agentscope_tuner.errors import InputError


def test_more_ranks_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="each with a GPU to itself, and this machine has 1"):
        ranks_of_this_machine(2)


def test_a_checkpoint_of_the_other_kind_of_learner_says_what_to_set(tmp_path: Path) -> None:
    state = tmp_path / "tuner_state"
    state.mkdir()
    (state / "learner.pt").touch()
    refuse_other_learners_checkpoint(tmp_path, on_ranks=False)
    with pytest.raises(InputError, match=r"without ranks: leave trainer\.ranks out"):
        refuse_other_learners_checkpoint(tmp_path, on_ranks=True)
    (state / "learner.pt").rename(state / "updates.pt")
    refuse_other_learners_checkpoint(tmp_path, on_ranks=True)
    with pytest.raises(InputError, match=r"set trainer\.ranks, to any number"):
        refuse_other_learners_checkpoint(tmp_path, on_ranks=False)
