"""A loss that is no number ends the run with the rollout's name, and spoils no checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from agentscope_tuner import AlgorithmConfig, DatasetConfig, TunerModelConfig, tune
from agentscope_tuner.algorithms.base import Metrics, Tokens
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.policy_loss import PolicyLoss
from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.errors import RunError
from agentscope_tuner.tuning import Invocation, invoked_as
from attack.program import ask, write_data


class Spoiling(PolicyLoss):
    """Spoils `what` of rollout 3 of the second step."""

    name: ClassVar[str] = "spoiling"
    what: ClassVar[str]

    def prepare(self, batch: Batch) -> None:
        bad_N = torch.zeros(len(batch))
        for number, rollout in batch.rollouts:
            bad_N[batch.rollout_N == number] = float(rollout.id == "step2-1-0")
        batch.columns["bad"] = bad_N

    def loss(self, tokens: Tokens) -> tuple[Tensor, Metrics]:
        loss_N = -tokens.advantages_N * tokens.logprobs_N
        bad_N = tokens.columns["bad"] > 0
        if self.what == "loss":
            return torch.where(bad_N, torch.nan, loss_N), {}
        zero_N = tokens.logprobs_N - tokens.logprobs_N
        root_N = torch.where(bad_N, zero_N, 1.0).sqrt()  # of 0: finite, but not its gradient
        return loss_N + torch.where(bad_N, root_N + 99, 0), {}


@dataclass(frozen=True)
class SpoiledLoss(Spoiling):
    what: ClassVar[str] = "loss"


@dataclass(frozen=True)
class SpoiledGradient(Spoiling):
    what: ClassVar[str] = "gradient"


@pytest.mark.parametrize(
    ("spoiled", "sentence"),
    [
        ("SpoiledLoss", "The loss of rollout step2-1-0 in step 2 is not finite"),
        (
            "SpoiledGradient",
            "The gradient of step 2 is not finite.*step2-1-0 has the largest share of the loss",
        ),
    ],
)
def test_the_rollout_and_the_step_are_named_and_the_last_checkpoint_stays(
    spoiled: str, sentence: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = str(write_data(tmp_path / "data"))
    loss = f"algorithm.policy_loss_fn={__file__}:{spoiled}"
    with invoked_as(Invocation(settings=(loss,))), pytest.raises(RunError, match=sentence):
        tune(
            workflow_func=ask,
            model=TunerModelConfig(model_path=str(tiny_model), max_model_len=256, max_tokens=8),
            train_dataset=DatasetConfig(path=data, split="train", total_steps=3),
            algorithm=AlgorithmConfig(
                algorithm_type="grpo", group_size=3, batch_size=2, save_interval_steps=1
            ),
            experiment_name="run",
        )
    run = tmp_path / "checkpoints" / "AgentScope" / "run"
    assert RunState.load(run) == RunState("failed", 1, 3)
    store = CheckpointStore(run)
    assert [*store.steps()] == [1]
    assert store.verify(store.steps()[1]) == []
