"""What is read of whole distributions, and of tokens behind another context."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_training import VOCABULARY, make_learner, make_model, random_groups

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.training import token_logprobs
from agentscope_tuner.training.columns import FrozenModel
from agentscope_tuner.training.packing import PackSize
from agentscope_tuner.training.self_teacher import SelfTeacher
from agentscope_tuner.trajectory import Call, Rollout, RolloutGroup, Segment, Trajectory


@pytest.fixture(autouse=True)
def _several_chunks_and_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_logprobs, "CHUNK_BYTES", 4 * VOCABULARY * 7)
    monkeypatch.setitem(token_logprobs.BLOCK_BYTES, "cpu", 4 * VOCABULARY * 2)


def plain_distributions(model, batch: Batch) -> torch.Tensor:
    """ln p over the vocabulary at each trained token [N, V]; with gradient, nothing shared."""
    rows = torch.empty(len(batch), VOCABULARY)
    for (number, segment), span in batch.spans.items():
        trajectory = dict(batch.rollouts)[number].trajectory
        ids = torch.tensor([trajectory.token_ids(segment)])
        every_TV = model(ids).logits[0].log_softmax(-1)
        before = ids.shape[1] - len(trajectory.segments[segment].token_ids) - 1
        rows[span.rows] = every_TV[before + torch.from_numpy(span.trained)]
    return rows


def test_in_bfloat16_what_a_likely_token_still_teaches_is_not_rounded_away() -> None:
    """1 - p, of a p that would be 1 in bfloat16."""
    hidden_NE = torch.eye(4).bfloat16().requires_grad_()
    scores = torch.tensor([7.0, 8.0, 9.0, 10.0])
    weight_VE = torch.zeros(5, 4).bfloat16()
    weight_VE[0] = scores.bfloat16()
    targets_N = torch.zeros(4, dtype=torch.int64)
    head = token_logprobs.Head(weight_VE, targets_N, torch.ones(4), {})
    logprobs_N, _, _ = head.logprobs(hidden_NE, slice(0, 4))
    (-logprobs_N.sum()).backward()
    surprise_N = 1 - 1 / (1 + 4 * torch.exp(-scores))
    torch.testing.assert_close(
        hidden_NE.grad.diagonal().float(), -surprise_N * scores, rtol=2e-2, atol=0
    )


def test_a_teachers_likeliest_tokens_are_told_with_their_ids() -> None:
    batch, model = Batch(random_groups(1)), make_model()
    FrozenModel(copy.deepcopy(model), dtype=torch.float32, top=5).forward(batch, {"teacher_top"})
    with torch.no_grad():
        expected_NK, ids_NK = plain_distributions(model, batch).topk(5)
    torch.testing.assert_close(batch.columns["teacher_top"], expected_NK, rtol=1e-4, atol=1e-4)
    assert torch.equal(batch.columns["other_ids"], ids_NK)


@pytest.mark.parametrize("top_k", [3, VOCABULARY])
def test_topk_distillation_is_the_divergence_of_the_distributions(top_k: int) -> None:
    teacher = make_model()
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    algorithm = get_algorithm(algorithm_type="topk_distill", policy_loss_fn_args={"top_k": top_k})
    groups = random_groups(2)
    algorithm.advantages(groups)
    batch, learner = Batch(groups), make_learner(make_model(), pack_size=PackSize(30))
    frozen = FrozenModel(copy.deepcopy(teacher), dtype=torch.float32, top=top_k)
    frozen.forward(batch, algorithm.before_updates(1))
    algorithm.prepare(batch)
    metrics = learner.forward_backward(batch, algorithm)
    model = make_model()
    student_NV = plain_distributions(model, batch)
    with torch.no_grad():
        teacher_NV = plain_distributions(teacher, batch)
    ids_NK = teacher_NV.topk(top_k).indices

    def told(rows_NV: torch.Tensor) -> torch.Tensor:
        p_NK = rows_NV.exp().gather(1, ids_NK)
        rest_N1 = (1 - p_NK.sum(1, keepdim=True)).clamp(min=1e-8)
        return torch.cat([p_NK, rest_N1], 1)

    s, t = told(student_NV), told(teacher_NV)
    loss = (s * (s.log() - t.log())).sum(1).mean()
    loss.backward()
    assert metrics["policy/loss"] == pytest.approx(loss.item(), rel=1e-3)
    for name, parameter in model.named_parameters():
        ours = learner._masters.by_name[name].grad
        scale = parameter.grad.abs().max().item()
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-3, atol=1e-4 * scale)


def test_the_average_push_is_one_over_all_tokens_that_could_have_been_drawn() -> None:
    batch, model = Batch(random_groups(3)), make_model()
    make_learner(model).forward(batch, {"expected_push"})
    with torch.no_grad():
        logp_NV = plain_distributions(model, batch)
    p_NV = logp_NV.exp()
    push_NV = p_NV * (-(p_NV * logp_NV).sum(1, keepdim=True) + logp_NV)
    expected_N = (p_NV * push_NV).sum(1)
    torch.testing.assert_close(batch.columns["expected_push"], expected_N, rtol=1e-4, atol=1e-5)


def test_the_learner_is_its_own_teacher_behind_a_sibling() -> None:
    groups, model = random_groups(2, groups=1, rollouts=2), make_model()
    for rollout, reward in zip(groups[0].rollouts, (1.0, 0.0), strict=True):
        rollout.reward = reward
        last = max(i for i, s in enumerate(rollout.trajectory.segments) if s.sampled is not None)
        rollout.trajectory.calls = [Call(last, [], None, {}, "stop")]
    good, bad = groups[0].rollouts
    hint = good.trajectory.token_ids(good.trajectory.calls[0].segment)
    algorithm = get_algorithm(algorithm_type="sdpo")
    learner = make_learner(model)
    batch = Batch(groups, lambda rollout: True)
    SelfTeacher(learner, algorithm.hinted).forward(batch, {"self_teacher"})
    learner.forward(batch, {"current"})
    shown = [
        Segment(s.parent, [*hint, *s.token_ids] if s.parent is None else s.token_ids, s.sampled)
        for s in bad.trajectory.segments
    ]
    plain = Batch(
        [RolloutGroup("", {}, [Rollout("", {}, Trajectory(shown), advantage=1.0)])],
    )
    learner.forward(plain, {"current"})
    of_bad_N, of_good_N = batch.rollout_N == 1, batch.rollout_N == 0
    ours_N = batch.columns["self_teacher"]
    torch.testing.assert_close(ours_N[of_bad_N], plain.columns["current"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        ours_N[of_good_N], batch.columns["current"][of_good_N], rtol=1e-4, atol=1e-4
    )
    assert not torch.allclose(ours_N[of_bad_N], batch.columns["current"][of_bad_N])
