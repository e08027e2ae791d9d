"""Sampler and learner against plain transformers, over drawn shapes of the models they know.

The reference is transformers' eager attention in float32, one sequence at a time.
"""

import copy
from statistics import median

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_training import forward_backward, logprobs
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel

from agentscope_tuner.algorithms.registry import get_algorithm
from agentscope_tuner.inference.batch import Batch, Span
from agentscope_tuner.inference.cache import KVCache
from agentscope_tuner.inference.decoder import Decoder
from agentscope_tuner.inference.native import NativeOps
from agentscope_tuner.inference.ops import TorchOps
from agentscope_tuner.inference.pages import PAGE_TOKENS
from agentscope_tuner.training.learner import LocalLearner
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled, Segment, Trajectory

CPU = torch.device("cpu")
VOCABULARY = 33
LENGTHS = (2, 63, 64, 65, 66, 127, 128, 129, 130, 200)
"""Of a text; its row is one shorter, as nothing is predicted from the last token."""
ROPES = (
    {"rope_type": "default", "rope_theta": 1e4},
    {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
    {
        "rope_type": "llama3",
        "rope_theta": 1e4,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    {
        "rope_type": "yarn",
        "rope_theta": 1e4,
        "factor": 4.0,
        "original_max_position_embeddings": 64,
    },
)
LOSS = get_algorithm(algorithm_type="sft")
TOLERANCE = 1e-4
"""Of a log-probability in float32, in nats."""


pytestmark = pytest.mark.usefixtures("one_thread")


@st.composite
def models(draw) -> PreTrainedModel:
    """A random model in float32 whose every weight, norms and biases too, makes a difference."""
    family = draw(st.sampled_from(["llama", "qwen2", "qwen3", "gemma3_text"]))
    heads, kv_heads = draw(st.sampled_from([(1, 1), (2, 2), (4, 4), (4, 2), (4, 1), (6, 2)]))
    head_dim = draw(st.sampled_from([16, 32, 64, 80, 96, 128, 256]))
    # Qwen2's configuration has no head size of its own.
    hidden_size = heads * head_dim if family == "qwen2" else 48
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": hidden_size,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "max_position_embeddings": 256,
        "initializer_range": hidden_size**-0.5,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": draw(st.booleans()),
    }
    rope = draw(st.sampled_from(ROPES))
    window = draw(st.sampled_from([None, 1, 5, 64]))
    if family == "gemma3_text":
        shape |= {
            "sliding_window": window or 100,
            "layer_types": ["sliding_attention", "full_attention"],
            "query_pre_attn_scalar": 20,
            "rope_parameters": {
                "full_attention": rope,
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e3},
            },
        }
    else:
        shape["rope_parameters"] = rope
    if family == "llama":
        shape |= {"attention_bias": draw(st.booleans()), "mlp_bias": draw(st.booleans())}
    if family in ("qwen2", "qwen3") and window is not None:
        shape |= {"use_sliding_window": True, "sliding_window": window, "max_window_layers": 1}
    torch.manual_seed(draw(st.integers(0, 99)))
    config = CONFIG_MAPPING[family](**shape)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def a_batch(length: int) -> list[RolloutGroup]:
    """Two answers to one prompt; the texts have `length` tokens and one more."""
    ids = torch.randint(3, VOCABULARY, (length + 1,)).tolist()
    prompt, ends = ids[: length // 2], (ids[length // 2 :], ids[length // 2 : length][::-1])
    rollouts = [
        Rollout(
            str(number),
            {},
            Trajectory(
                [
                    Segment(None, prompt),
                    Segment(0, end, Sampled([-1.0] * len(end), [False] * len(end), "m", 0)),
                ]
            ),
            advantage=1.0,
        )
        for number, end in enumerate(ends)
    ]
    return [RolloutGroup("g", {}, rollouts[: 1 + length % 2])]


def reference_logprobs(model: PreTrainedModel, groups: list[RolloutGroup]) -> list[torch.Tensor]:
    """ln p of every sampled token, one sequence at a time."""
    found = []
    for rollout in groups[0].rollouts:
        ids = torch.tensor([rollout.trajectory.token_ids(1)])
        logits = model(ids, use_cache=False).logits[0].float()
        sampled = len(rollout.trajectory.segments[1].token_ids)
        logps = logits[-sampled - 1 : -1].log_softmax(-1)
        found.append(logps.gather(1, ids[0, -sampled:, None])[:, 0])
    return found


SHAPES = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@SHAPES
@given(model=models(), length=st.sampled_from(LENGTHS))
def test_a_learner_of_any_shape_has_the_values_and_gradients_of_transformers(model, length):
    groups = a_batch(length)
    learner = LocalLearner(
        copy.deepcopy(model), optimizer=OptimizerSettings(), compute_dtype=torch.float32
    )
    found = list(logprobs(learner, groups).values())
    expected = torch.cat(reference_logprobs(model, groups))
    torch.testing.assert_close(torch.tensor(found), expected, atol=TOLERANCE, rtol=0)
    forward_backward(learner, groups, LOSS)
    (-expected.mean()).backward()
    for name, parameter in model.named_parameters():
        got, scale = learner._masters.by_name[name].grad, parameter.grad.abs().max().item()
        torch.testing.assert_close(
            got, parameter.grad, rtol=1e-3, atol=1e-5 + 1e-3 * scale, msg=lambda m, n=name: n + m
        )


@SHAPES
@given(model=models(), length=st.sampled_from(LENGTHS), native=st.booleans())
def test_a_sampler_of_any_shape_has_the_logits_of_transformers(model, length, native):
    ids = torch.randint(3, VOCABULARY, (length,)).tolist()
    with torch.no_grad():
        expected = model(torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
    found = sampler_logps(model, ids, torch.float32, native)
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


@settings(SHAPES, max_examples=15)
@given(model=models(), length=st.sampled_from(LENGTHS))
def test_in_bfloat16_both_stay_near_transformers_and_the_kernels_near_their_torch_twins(
    model, length
):
    """As near as eight bits of mantissa keep random models, whose scores are far from tame."""
    groups = a_batch(length)
    rounded = with_weights_in(torch.bfloat16, model, then=torch.float32)
    learner = LocalLearner(copy.deepcopy(model), optimizer=OptimizerSettings())
    found = torch.tensor(list(logprobs(learner, groups).values()))
    with torch.no_grad():
        expected = torch.cat(reference_logprobs(rounded, groups))
        in_bf16 = with_weights_in(torch.bfloat16, model)
        bf16 = torch.cat(reference_logprobs(in_bf16, groups))
    near(found, expected, bf16)
    ids = groups[0].rollouts[0].trajectory.token_ids(1)
    with torch.no_grad():
        expected = rounded(torch.tensor([ids])).logits[0].log_softmax(-1)
        bf16 = in_bf16(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    for native in (True, False):
        near(sampler_logps(model, ids, torch.bfloat16, native), expected, bf16)


@settings(SHAPES, max_examples=6)
@given(model=models(), length=st.sampled_from(LENGTHS))
def test_in_bfloat16_the_gradient_is_as_near_to_float32_as_that_of_transformers(model, length):
    """In the median of three batches: in one alone, a few bits can make either look lucky."""
    ours, theirs, norms = zip(
        *(gradient_errors(model, a_batch(length)) for _ in range(3)), strict=True
    )
    error, allowed, norm = map(median, (ours, theirs, norms))
    assert error <= 2 * allowed + 0.02 * norm, (ours, theirs, norms)


def with_weights_in(
    dtype: torch.dtype, model: PreTrainedModel, then: torch.dtype | None = None
) -> PreTrainedModel:
    """A copy with rounded weights, and with the frequencies of rotations as they are: transformers
    loads a model so, but `model.bfloat16()` rounds those, too."""
    model = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data = parameter.to(dtype).to(then or dtype)
    return model


def gradient_errors(
    model: PreTrainedModel, groups: list[RolloutGroup]
) -> tuple[float, float, float]:
    """How far the gradients of bfloat16 are from that of float32, ours and transformers', and its
    norm."""
    learner = LocalLearner(copy.deepcopy(model), optimizer=OptimizerSettings())
    forward_backward(learner, groups, LOSS)
    found = {name: master.grad for name, master in learner._masters.by_name.items()}
    exact = with_weights_in(torch.bfloat16, model, then=torch.float32)
    bf16 = with_weights_in(torch.bfloat16, model)
    for reference in (exact, bf16):
        (-torch.cat(reference_logprobs(reference, groups)).mean()).backward()
    exact_grads, bf16_grads = (
        {name: parameter.grad.float() for name, parameter in reference.named_parameters()}
        for reference in (exact, bf16)
    )
    errors = (distance(gradients, exact_grads) for gradients in (found, bf16_grads))
    return (*errors, distance(exact_grads, {}))


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Euclidean, over all weights; what is absent is zero."""
    return sum(float((a[name] - b.get(name, 0.0)).square().sum()) for name in a) ** 0.5


def near(found: torch.Tensor, exact: torch.Tensor, transformers_bf16: torch.Tensor) -> None:
    """On average no further from float32 than twice what transformers in bfloat16 is."""
    error, allowed = (found - exact).abs().mean(), (transformers_bf16 - exact).abs().mean()
    assert error <= 2 * allowed + 0.02, (error, allowed)


def sampler_logps(
    model: PreTrainedModel, ids: list[int], dtype: torch.dtype, native: bool
) -> torch.Tensor:
    """ln p of all tokens at every position: half as one span, the rest token by token."""
    length = len(ids)
    decoder = Decoder(model.config, dtype=dtype, device=CPU, max_length=256)
    decoder.load(model.state_dict())
    if not native:
        decoder.ops = TorchOps(decoder.architecture, decoder.ops.rotary)
    elif decoder.architecture.head_dim % (64 // dtype.itemsize) == 0:
        assert isinstance(decoder.ops, NativeOps)
    arch, pages = decoder.architecture, list(range(-(-length // PAGE_TOKENS)))
    cache = KVCache(arch.layers, len(pages), arch.kv_heads, arch.head_dim, dtype, CPU)
    # Rows of logits are asked for one span at a time: single tokens at the end, a chunk before.
    start, logits = length - min(length - 1, 8), []
    span = Span(ids[:start], start=0, pages=pages, wants_logits=True)
    batch = Batch.build([span], CPU)
    object.__setattr__(batch, "logit_rows", torch.arange(start))
    logits.append(decoder.forward(batch, cache))
    for at in range(start, length):
        span = Span([ids[at]], start=at, pages=pages, wants_logits=True)
        logits.append(decoder.forward(Batch.build([span], CPU), cache))
    return torch.cat(logits).float().log_softmax(-1)
