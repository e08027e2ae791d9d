"""A learner at a service learns what one on this machine does."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_tinker import Service
from tinker_adapters import ALPHA, TrainingRun
from transformers import PreTrainedTokenizerBase

from agentscope_tuner.algorithms.base import Algorithm
from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.algorithms.settings import AlgorithmSettings
from agentscope_tuner.algorithms.tokens import Metrics, Tokens
from agentscope_tuner.engine.finite import refuse_loss
from agentscope_tuner.errors import RunError
from agentscope_tuner.inference.loading import load_model, load_tokenizer
from agentscope_tuner.inference.tinker_service import TinkerService
from agentscope_tuner.training.learner import LocalLearner
from agentscope_tuner.training.lora import LoraSettings
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.tinker_learner import TinkerLearner
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled, Segment, Trajectory

RANK = 4
OPTIMIZER = OptimizerSettings(lr=1e-3, weight_decay=0.1, grad_clip=0.5)


def groups(seed: int, restricted: float = 0.0) -> list[RolloutGroup]:
    """Two groups of two rollouts, each a conversation of two turns with a branch off the first; at
    a share of the tokens only a few could have been drawn."""
    draw = random.Random(seed)

    def ids(count: int) -> list[int]:
        return [draw.randrange(3, 1000) for _ in range(count)]

    def sampled(tokens: list[int]) -> Segment:
        logprobs = [draw.uniform(-12, -9) for _ in tokens]
        known = Sampled(logprobs, [draw.random() < 0.2 for _ in tokens], "policy", 0)
        for index, token in enumerate(tokens):
            if draw.random() < restricted:
                support = sorted({token, *ids(draw.randint(1, 5))})
                known.supports[index] = np.array(support, np.int32)
        return Segment(None, tokens, known)

    found = []
    for g in range(2):
        prompt = ids(5)
        rollouts = []
        for r in range(2):
            segments = [
                Segment(None, prompt),
                replace(sampled(ids(4)), parent=0),
                Segment(1, ids(3)),
                replace(sampled(ids(5)), parent=2),
                Segment(1, ids(2)),
                replace(sampled(ids(3)), parent=4),
            ]
            rollout = Rollout(f"{g}-{r}", {}, Trajectory(segments), advantage=draw.gauss(0, 1))
            rollouts.append(rollout)
        found.append(RolloutGroup(str(g), {}, rollouts))
    return found


@dataclass
class Pair:
    """Two learners with the same adapters."""

    at_service: TinkerLearner
    here: LocalLearner
    run: TrainingRun
    """What the service has."""

    def weights(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Each of the service's, with that of the local learner."""
        for name, weight in self.run.weights.items():
            yield weight, self.here._masters.by_name[name.removeprefix("base_model.model.")]


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_model)


@pytest.fixture
def at_service(
    service: Service, tiny_model: Path, tokenizer: PreTrainedTokenizerBase
) -> Iterator[TinkerLearner]:
    session = TinkerService(service.url, str(tiny_model))
    training = session.begin(rank=RANK, seed=0, mlp=True, attention=True, unembed=False)
    learner = TinkerLearner(
        session,
        training,
        optimizer=OPTIMIZER,
        model=tiny_model,
        tokenizer=tokenizer,
    )
    yield learner
    learner.release()


@pytest.fixture
def pair(at_service: TinkerLearner, service: Service, tiny_model: Path) -> Pair:
    here = LocalLearner(
        load_model(tiny_model, torch.float32),
        optimizer=OPTIMIZER,
        compute_dtype=torch.float32,
        lora=LoraSettings(rank=RANK, alpha=ALPHA),
    )
    pair = Pair(at_service, here, list(service.trainings.values())[-1].run)
    torch.manual_seed(1)
    with torch.no_grad():
        for there, local in pair.weights():
            if not there.any():  # else the other half of the adapter has no gradient
                there.normal_(0, 0.02)
            local.copy_(there)
    here._masters.publish()
    return pair


ALGORITHMS = {
    "grpo": AlgorithmSettings(kl_loss_fn="k3", kl_loss_fn_args={"kl_coef": 0.1}),
    "gspo": AlgorithmSettings(policy_loss_fn="gspo"),
}


def learnt(
    learner: TinkerLearner | LocalLearner, algorithm: Algorithm, seed: int, restricted: float = 0.0
) -> Batch:
    """Add the gradient of a batch."""
    batch = Batch(groups(seed, restricted))
    wanted = set(algorithm.before_updates(1)) | {"current"}
    if algorithm.needs_reference:
        wanted.add("reference")
    learner.forward(batch, wanted)
    algorithm.prepare(batch)
    learner.forward_backward(batch, algorithm)
    return batch


@pytest.mark.parametrize("restricted", [0.0, 0.4])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_columns_loss_and_gradient_are_those_of_the_local_learner(
    pair: Pair, name: str, restricted: float
) -> None:
    algorithm = get_algorithm(ALGORITHMS[name])
    there, here = (
        learnt(one, algorithm, seed=0, restricted=restricted)
        for one in (pair.at_service, pair.here)
    )
    for column in ("current", "reference", "learner", "loss"):
        if column in here.columns:
            torch.testing.assert_close(
                there.columns[column], here.columns[column], rtol=1e-4, atol=1e-4
            )
    for there, local in pair.weights():
        assert local.grad is not None
        largest = local.grad.abs().max()
        assert largest > 1e-4
        assert (there.grad - local.grad).abs().max() < 1e-4 * largest


def test_updates_are_those_of_the_local_learner(pair: Pair) -> None:
    algorithm = get_algorithm()
    for step in range(2):
        for learner in (pair.at_service, pair.here):
            learnt(learner, algorithm, seed=step)
            assert learner.optim_step(at=step)["policy/lr"] == OPTIMIZER.lr
    for there, local in pair.weights():
        torch.testing.assert_close(there, local, rtol=1e-4, atol=1e-5)


def test_without_any_advantage_the_service_is_not_asked(
    at_service: TinkerLearner, service: Service
) -> None:
    algorithm, batch = get_algorithm(), Batch(groups(0))
    batch.columns["advantage"].zero_()
    algorithm.prepare(batch)
    asked = len(service.operations)
    metrics = at_service.forward_backward(batch, algorithm)
    assert metrics["train/skipped_tokens"] == metrics["train/tokens"] == len(batch)
    at_service.optim_step(at=0)
    assert service.operations[asked:].count("optim_step") == 0


def test_an_entropy_that_the_service_does_not_give_is_no_number(at_service: TinkerLearner) -> None:
    class Curious(Algorithm):
        def loss(self, tokens: Tokens) -> tuple[torch.Tensor, Metrics]:
            return tokens.logprobs_N - tokens.entropy_N, {}

    batch = learnt(at_service, Curious(), seed=0)
    with pytest.raises(RunError, match="The loss of rollout 0-0 in step 1 is not finite"):
        refuse_loss(1, batch, math.nan)


def test_a_failure_at_the_service_ends_the_run_with_its_words(
    at_service: TinkerLearner, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no memory is left")

    monkeypatch.setattr(TrainingRun, "forward_backward", broken)
    with pytest.raises(RunError, match=r"failed to compute probabilities: .*no memory is left"):
        at_service.forward(Batch(groups(0)), {"current"})
