"""The adapters' own product against peft's layer, which is made of plain operations."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear
from torch import Tensor, nn
from transformers import PreTrainedModel

from agentscope_tuner.errors import InputError
from agentscope_tuner.training.lora import LoraSettings, add_adapters, add_in_place


def adapted_linear(seed: int, inputs: int, outputs: int, bias: bool, rank: int) -> Linear:
    """A layer in float64 whose adapter is not zero."""
    torch.manual_seed(seed)
    model = nn.ModuleDict({"layer": nn.Linear(inputs, outputs, bias=bias, dtype=torch.float64)})
    config = LoraConfig(r=rank, lora_alpha=2 * rank + 1, target_modules=["layer"])
    add_in_place(inject_adapter_in_model(config, model))
    nn.init.normal_(model["layer"].lora_B["default"].weight)
    return model["layer"].double()


def values_and_gradients(layer: Linear, x: Tensor, weigh: Tensor) -> list[Tensor]:
    """The output, and the gradients of the input and of both of the adapter's weights."""
    x = x.clone().requires_grad_()
    out = layer(x)
    weights = [layer.lora_A["default"].weight, layer.lora_B["default"].weight]
    return [out.detach(), *torch.autograd.grad((weigh * out).sum(), [x, *weights])]


def as_peft_has_it(layer: Linear) -> Linear:
    layer = copy.deepcopy(layer)
    del vars(layer)["forward"]
    return layer


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40)),
    inputs=st.integers(1, 24),
    outputs=st.integers(1, 24),
    bias=st.booleans(),
    rank=st.integers(1, 30),
)
def test_values_and_gradients_are_pefts(seed, shape, inputs, outputs, bias, rank):
    layer = adapted_linear(seed, inputs, outputs, bias, rank)
    x = torch.randn(*shape, inputs, dtype=torch.float64)
    weigh = torch.randn(*shape, outputs, dtype=torch.float64)
    ours = values_and_gradients(layer, x, weigh)
    for value, expected in zip(
        ours, values_and_gradients(as_peft_has_it(layer), x, weigh), strict=True
    ):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


def test_an_adapter_that_is_disabled_changes_nothing():
    layer = adapted_linear(0, 8, 6, True, rank=3)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    layer.enable_adapters(False)
    assert torch.equal(layer(x), layer.base_layer(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_adapted_layer_of_a_model_computes_so(model: PreTrainedModel, dtype: torch.dtype):
    add_adapters(model, LoraSettings(rank=4))
    layers = [module for module in model.modules() if isinstance(module, Linear)]
    assert len(layers) == 7 * model.config.num_hidden_layers
    for layer in layers:
        nn.init.normal_(layer.lora_B["default"].weight, std=0.1)
    model.to(dtype)
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.02}
    for layer in layers:
        x = torch.randn(1, 9, layer.in_features, dtype=dtype)
        torch.testing.assert_close(layer(x), as_peft_has_it(layer)(x), **close)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("embed_tokens",), "'embed_tokens', which is not only linear layers"),
        (("lm_head",), "'lm_head', which is not only linear layers"),
        (("q_proj", "w1"), "'w1', which is no layer"),
        (("mlp",), "'mlp', which is not only linear layers"),
        ("model.embed.*", "not only linear layers"),
        ("q_proj", "no layer .* some of down_proj, gate_proj, k_proj, o_proj, q_proj"),
        ("(", "no regular expression"),
        ((), "'', which is no layer"),
    ],
)
def test_targets_that_would_not_be_sampled_from_are_refused(
    model: PreTrainedModel, targets: str | tuple[str, ...], message: str
):
    with pytest.raises(InputError, match=message):
        add_adapters(model, LoraSettings(target_modules=targets))


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (("q_proj", "mlp.up_proj"), {"q_proj", "up_proj"}),
        (("layers.0.self_attn.v_proj",), {"v_proj"}),
        (r".*\.(gate|up)_proj", {"gate_proj", "up_proj"}),
    ],
)
def test_adapters_go_where_they_are_wanted(
    model: PreTrainedModel, targets: str | tuple[str, ...], names: set[str]
):
    add_adapters(model, LoraSettings(target_modules=targets))
    adapted = {name for name, module in model.named_modules() if isinstance(module, Linear)}
    assert {name.rpartition(".")[2] for name in adapted} == names
