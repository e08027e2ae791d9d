"""Memory that a step will need."""

import pytest
import torch
from tiny_training import make_learner

from agentscope_tuner.training.memory import activation_bytes_per_token


def test_activations_are_measured_and_grow_with_layers_and_precision(llama):
    one = activation_bytes_per_token(make_learner(llama).model)
    assert activation_bytes_per_token(make_learner(llama).model, tokens=64) == pytest.approx(
        one, rel=0.1
    )
    half = activation_bytes_per_token(make_learner(llama, compute_dtype=torch.bfloat16).model)
    assert half < one
    # At least a layer's input, gate and up are kept, in float32.
    assert one > 2 * 4 * (32 + 2 * 48)
