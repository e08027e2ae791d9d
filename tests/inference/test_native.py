"""The compiled kernels against plain torch, and the life without a compiler."""

import pytest
import torch
from tiny_models import CONFIGS, random_prompts, reference_greedy, tiny_model

from agentscope_tuner.inference import native
from agentscope_tuner.inference.architecture import Architecture, rotary_tables
from agentscope_tuner.inference.base import SamplingParams
from agentscope_tuner.inference.batch import Batch, Span
from agentscope_tuner.inference.cache import KVCache
from agentscope_tuner.inference.native import NativeOps, choose_ops
from agentscope_tuner.inference.ops import TorchOps

CPU = torch.device("cpu")
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
SPANS = [
    Span([1], start=40, pages=[4, 2, 9], wants_logits=True),
    Span([2], start=0, pages=[1], wants_logits=True),
    Span([3] * 20, start=10, pages=[5, 8], wants_logits=True),
    Span([4] * 150, start=0, pages=[*range(10, 20)], wants_logits=True),
]


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def both(request):
    """The same architecture's steps, twice: in torch and compiled."""
    config = CONFIGS["gemma3-window"]()
    config.head_dim = 32
    architecture = Architecture.from_config(config)
    rotary = rotary_tables(config, 256)
    compiled = choose_ops(architecture, rotary, request.param, CPU)
    assert isinstance(compiled, NativeOps)
    return TorchOps(architecture, rotary), compiled, request.param


def agree(a, b, dtype):
    torch.testing.assert_close(a, b, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_norms_agree(both):
    reference, compiled, dtype = both
    x, y, weight = torch.randn(5, 96), torch.randn(5, 96), torch.randn(96)
    x, y, weight = x.to(dtype), y.to(dtype), weight.to(dtype)
    x_of_compiled = x.clone()
    agree(compiled.norm(x, weight), reference.norm(x, weight), dtype)
    normed = compiled.add_norm(x_of_compiled, y, weight)
    agree(normed, reference.add_norm(x, y, weight), dtype)
    agree(x_of_compiled, x, dtype)


@pytest.mark.parametrize("activation", ["silu", "gelu_pytorch_tanh"])
def test_activations_agree(both, activation):
    reference, compiled, dtype = both
    for ops in (reference, compiled):
        ops.architecture = Architecture.from_config(
            CONFIGS["llama"]() if activation == "silu" else CONFIGS["gemma3-window"]()
        )
    gate_up = (20 * torch.randn(7, 128)).to(dtype)
    agree(compiled.gate(gate_up), reference.gate(gate_up), dtype)


@pytest.mark.parametrize("layer", [0, 1], ids=["window", "full"])
@pytest.mark.parametrize("short_span", [256, 0], ids=["by token", "by span"])
@pytest.mark.parametrize("normed", [True, False])
def test_attention_agrees_and_stores_the_same(both, layer, short_span, normed):
    reference, compiled, dtype = both
    compiled._short_span = short_span
    arch = reference.architecture
    torch.manual_seed(0)
    caches = [KVCache(arch.layers, 20, arch.kv_heads, arch.head_dim, dtype, CPU) for _ in range(2)]
    for name in ("keys", "values"):  # what earlier steps have stored
        old = torch.randn_like(getattr(caches[0], name))
        for cache in caches:
            getattr(cache, name).copy_(old)
    batch = Batch.build(SPANS, CPU)
    heads = arch.heads + 2 * arch.kv_heads
    qkv = torch.randn(len(batch.tokens_T), heads * arch.head_dim).to(dtype)
    norms = [torch.rand(arch.head_dim).to(dtype) if normed else None for _ in range(2)]
    outs = [
        ops.attention(qkv.clone(), *norms, layer, batch, cache)
        for ops, cache in zip((reference, compiled), caches, strict=True)
    ]
    agree(outs[1], outs[0], dtype)
    agree(caches[1].keys, caches[0].keys, dtype)
    agree(caches[1].values, caches[0].values, dtype)


def test_draws_agree(both):
    reference, compiled, dtype = both
    torch.manual_seed(0)
    logits = (3 * torch.randn(200, 1000)).to(dtype)
    temperatures = torch.rand(200) + 0.5
    uniforms = torch.rand(200, dtype=torch.float64)
    tokens, logprobs = compiled.draw(logits, temperatures, uniforms)
    expected_tokens, expected_logprobs = reference.draw(logits, temperatures, uniforms)
    assert (tokens == expected_tokens).float().mean() > 0.99  # rounding may move a boundary
    same = tokens == expected_tokens
    agree(logprobs[same], expected_logprobs[same], torch.float32)


async def test_without_a_compiler_torch_samples_the_same(monkeypatch, make_sampler):
    monkeypatch.setattr(native, "compiled", lambda defines: None)
    model, (prompt,) = tiny_model("qwen3"), random_prompts(1)
    completion = await make_sampler(model).sample(
        prompt, SamplingParams(max_tokens=20, temperature=0.0)
    )
    assert completion.token_ids == reference_greedy(model, prompt, 20)


def test_a_compiler_that_fails_is_survived_with_a_warning(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("ASTUNER_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", "false")
    assert native.compiled.__wrapped__(()) is None
    assert "slow" in caplog.text
