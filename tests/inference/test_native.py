"""The compiled kernels against plain torch, and the life without a compiler."""

import platform
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_models import CONFIGS, random_prompts, reference_greedy, tiny_model

from agentscope_tuner.inference import kernels, linear, native, tiles
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


X86 = ["-mno-avx512f", "-mno-avx"] if platform.machine() == "x86_64" else []


@pytest.fixture(params=[(), *((flag,) for flag in X86)], ids=lambda f: f[0] if f else "all")
def without(request):
    """What is taken from the processor: vectors are as long as its registers."""
    return request.param


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def both(request, without):
    """The same architecture's steps, twice: in torch and compiled."""
    config = CONFIGS["gemma3-window"]()
    config.head_dim = 32
    architecture = Architecture.from_config(config)
    rotary = rotary_tables(config, 512)
    assert isinstance(choose_ops(architecture, rotary, request.param, CPU), NativeOps)
    compiled = NativeOps(architecture, rotary, kernels.compiled(request.param, without))
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
@pytest.mark.parametrize("normed", [True, False])
def test_attention_agrees_and_stores_the_same(both, layer, normed):
    reference, compiled, dtype = both
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
    for module in (native, linear):
        monkeypatch.setattr(module, "compiled", lambda dtype: None)
    model, (prompt,) = tiny_model("qwen3"), random_prompts(1)
    completion = await make_sampler(model).sample(
        prompt, SamplingParams(max_tokens=20, temperature=0.0)
    )
    assert completion.token_ids == reference_greedy(model, prompt, 20)


def test_a_compiler_that_fails_is_survived_with_a_warning(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("ASTUNER_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", "false")
    assert kernels.compiled.__wrapped__(torch.float32) is None
    assert "slow" in caplog.text


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 5, 6, 12, 13, 40, 110])
def test_products_agree_and_a_row_is_the_same_bits_beside_any_others(rows, bias, dtype, without):
    library = kernels.compiled(dtype, without)
    torch.manual_seed(rows)
    for inputs, outputs in ((64, 96), (34, 40), (576, 128)):
        spread = inputs**-0.5 if dtype == torch.float32 else 1.0  # sums near 1 round by 1e-7
        weight = (spread * torch.randn(outputs, inputs)).to(dtype)
        bias_O = torch.randn(outputs).to(dtype) if bias else None
        product = linear.Product(library, weight, bias_O)
        x = torch.randn(rows, inputs).to(dtype)
        together = product(x)
        agree(together, F.linear(x, weight, bias_O), dtype)
        for row in range(rows):
            assert torch.equal(product(x[row : row + 1])[0], together[row])
        some = torch.tensor([outputs - 1, 0, outputs // 2])
        assert torch.equal(product.weights_of(some), weight[some])


@pytest.mark.parametrize(
    ("dtype", "outputs", "inputs"),
    [(torch.bfloat16, 64, 2), (torch.bfloat16, 40, 34), (torch.float32, 64, 2)],
    ids=str,
)
def test_a_product_does_not_see_its_weight_change(dtype, outputs, inputs, without):
    weight = torch.randn(outputs, inputs).to(dtype)
    product = linear.Product(kernels.compiled(dtype, without), weight, None)
    x = torch.randn(3, inputs).to(dtype)
    before = product(x)
    weight.zero_()
    assert torch.equal(product(x), before)


TREE = [
    [*range(8), 30],
    [*range(16), 31],
    [*range(16), 32, 33],
    [*range(8), *range(20, 28), 34],
    [40],
]
"""Pages of sequences that fork: the first eight shared by four of them, eight more by two."""


def test_shared_pages_are_read_once_for_all_that_share_them():
    spans = [Span([1] * (1 + i % 2), 16 * len(p) - 9, p, True) for i, p in enumerate(TREE)]
    levels = tiles.run_levels(Batch.build(sorted(spans, key=lambda s: len(s.tokens)), CPU))
    shared = [[run for run in level if run.end < tiles.TO_THE_END] for level in levels]
    assert [[(len(r.tokens), r.begin, r.end) for r in level] for level in shared] == [
        [(6, 0, 8)],
        [(3, 8, 16)],
        [],
    ]
    for level in levels:
        rows = [row for run in level for row in run.tokens]
        assert len(rows) == len(set(rows))
    last = [row for level in levels for r in level if r.end == tiles.TO_THE_END for row in r.tokens]
    assert sorted(last) == list(range(7))


@pytest.mark.parametrize("layer", [0, 1], ids=["window", "full"])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_attention_over_shared_pages_agrees_and_is_the_same_bits_alone(both, layer, kv_heads):
    attention_over_shared_pages(*both, layer, kv_heads)


def attention_over_shared_pages(reference, compiled, dtype, layer, kv_heads):
    arch = replace(reference.architecture, heads=4, kv_heads=kv_heads)
    reference.architecture = compiled.architecture = arch
    torch.manual_seed(kv_heads)
    cache = KVCache(arch.layers, 50, arch.kv_heads, arch.head_dim, dtype, CPU)
    cache.keys.copy_(torch.randn_like(cache.keys))
    cache.values.copy_(torch.randn_like(cache.values))
    lengths = [1, 1, 5, 3, 9]
    spans = [
        Span([1] * count, 16 * len(pages) - count - 2, pages, True)
        for count, pages in zip(lengths, TREE, strict=True)
    ]
    qkv = torch.randn(sum(lengths), (4 + 2 * kv_heads) * arch.head_dim).to(dtype)

    def attend(ops, of, x):
        return ops.attention(x.clone(), None, None, layer, Batch.build(of, CPU), cache)

    together = attend(compiled, spans, qkv)
    agree(together, attend(reference, spans, qkv), dtype)
    parts = zip(spans, qkv.split(lengths), strict=True)
    alone = torch.cat([attend(compiled, [span], x) for span, x in parts])
    assert torch.equal(alone, together)


@pytest.mark.parametrize("without", [()], indirect=True)
def test_bf16_dot_instructions_agree(both, monkeypatch, tmp_path):
    """What AMD's processors run; Intel's have the instructions, and are slow at them."""
    if "avx512_bf16" not in kernels.cpu_flags():
        pytest.skip("the processor has no such instructions")
    reference, compiled, dtype = both
    monkeypatch.setenv("ASTUNER_CACHE", str(tmp_path))
    monkeypatch.setattr(kernels, "_bf16_dot_at_full_rate", lambda: True)
    compiled._library = kernels.compiled.__wrapped__(dtype)
    attention_over_shared_pages(reference, compiled, dtype, layer=1, kv_heads=2)
