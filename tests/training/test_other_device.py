"""On another device than the CPU every tensor is there: shown on one that computes nothing."""

import numpy as np
import torch
from tiny_training import random_groups

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.training import forward, token_logprobs, tree_layout
from agentscope_tuner.training.packing import PackSize, pack_batch

META = torch.device("meta")


def test_a_pack_goes_forward_and_backward_without_a_tensor_left_on_the_cpu(model, monkeypatch):
    monkeypatch.setitem(tree_layout.BATCH_PAIRS, "meta", 2**16)
    monkeypatch.setitem(token_logprobs.BLOCK_BYTES, "meta", 2**20)
    groups = random_groups(seed=1, temperature=0.8)
    for group in groups:
        for segment in (s for r in group.rollouts for s in r.trajectory.sampled_segments()):
            segment.sampled.supports = {0: np.array([3, segment.token_ids[0]], np.int32)}
    (pack,) = pack_batch(Batch(groups), PackSize(10_000))
    forward.prepare(model, META)
    hidden_NE = forward.predecessor_states(model, pack)
    head = forward.head_of(model, pack)
    for rows in head.chunks():
        logprobs_n, entropy_n, _ = head.logprobs(hidden_NE[rows], rows)
        assert logprobs_n.device == META
        (logprobs_n + entropy_n).sum().backward(retain_graph=True)
    assert all(parameter.grad.device == META for parameter in model.parameters())
