"""Values that are computed again going backward, against plain autograd, which keeps them."""

import copy

import pytest
import torch
from tiny_training import make_learner, random_groups
from transformers import PreTrainedModel

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.training import forward
from agentscope_tuner.training.lora import LoraSettings
from agentscope_tuner.training.memory import activation_bytes_per_token
from agentscope_tuner.training.pack import Pack
from agentscope_tuner.training.packing import PackSize, pack_batch

LORA = LoraSettings(rank=4, alpha=8)


@pytest.fixture
def pack() -> Pack:
    (pack,) = pack_batch(Batch(random_groups(seed=0)), PackSize(1000))
    return pack


def plain(model: PreTrainedModel) -> PreTrainedModel:
    """The model with layers as transformers has them."""
    model = copy.deepcopy(model)
    for module in model.modules():
        vars(module).pop("forward", None)
    return model


def states_and_gradients(
    model: PreTrainedModel, pack: Pack
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The hidden states, and gradients of a loss that weighs each of their numbers otherwise."""
    model = copy.deepcopy(model)
    model.zero_grad()
    states_NE = forward.predecessor_states(model, pack)
    states_NE.backward(torch.sin(torch.arange(states_NE.numel())).view_as(states_NE))
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return states_NE.detach(), grads


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_values_are_the_same_and_gradients_up_to_the_order_of_sums(model, lora, pack):
    model = make_learner(model, lora=lora).model
    states_NE, grads = states_and_gradients(model, pack)
    expected_NE, expected = states_and_gradients(plain(model), pack)
    assert torch.equal(states_NE, expected_NE)
    assert grads.keys() == expected.keys()
    for name, grad in grads.items():
        scale = expected[name].abs().max().item()
        torch.testing.assert_close(grad, expected[name], rtol=1e-4, atol=1e-6 * scale)


def test_gradients_are_the_same_bits_every_time_and_where_layers_are_computed_again(model, pack):
    model = make_learner(model).model
    _, one = states_and_gradients(model, pack)
    for training in (False, True):
        _, other = states_and_gradients(model.train(training), pack)
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_norms_and_gated_products_are_not_kept(llama):
    model = make_learner(llama).model
    less = activation_bytes_per_token(plain(model)) - activation_bytes_per_token(model)
    hidden, inner, layers = 32, 48, 2
    # Of two norms what is normalised, its root mean square and the result; the activated gate and
    # its product with up.
    assert less == pytest.approx(4 * layers * (2 * (hidden + 1 + hidden) + 2 * inner), abs=1)


def test_layers_that_are_computed_again_as_a_whole_keep_nothing_more(llama):
    model = make_learner(llama).model.train()
    assert activation_bytes_per_token(model) == activation_bytes_per_token(plain(model))
