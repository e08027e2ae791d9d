"""Attention along trees against attention under a dense mask, in values and gradients: our kernel,
also as a lesser processor has it, and its twin of plain products."""

import ctypes
import platform
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentscope_tuner.inference import kernels
from agentscope_tuner.training import tree_attention as module
from agentscope_tuner.training.tree_attention import tree_attention
from agentscope_tuner.training.tree_layout import TreeLayout

LENGTHS = (1, 2, 63, 64, 65, 127, 128, 129, 300)
HEADS = ((1, 1), (2, 2), (4, 4), (4, 2), (4, 1), (6, 3), (8, 1))
"""Heads of queries, and of keys and values: equal, grouped, one."""
CPU = torch.device("cpu")
X86 = ["-mno-avx512f", "-mno-avx"] if platform.machine() == "x86_64" else []
HOW = ["plain", "", *X86]
"""By plain products, or by the kernel compiled without some instructions."""

pytestmark = pytest.mark.usefixtures("one_thread")


def random_tree(length, seed, branching):
    """Parents, depths and subtree ends of a random tree in preorder."""
    rng = np.random.default_rng(seed)
    parents, path = np.full(length, -1), []
    for token in range(length):
        while path and rng.random() < branching:
            path.pop()
        parents[token] = path[-1] if path else -1
        path.append(token)
    depths, ends = np.zeros(length, np.int64), np.arange(1, length + 1)
    for token, parent in enumerate(parents):
        depths[token] = depths[parent] + 1 if parent >= 0 else 0
    for token in range(length - 1, -1, -1):
        if parents[token] >= 0:
            ends[parents[token]] = max(ends[parents[token]], ends[token])
    return parents, depths, ends


def dense_attention(query, key, value, parents, depths, window, scale):
    """One [T, T] mask, built by walking from each token to its root."""
    length = len(parents)
    hidden = torch.full((length, length), -torch.inf, dtype=query.dtype)
    for token in range(length):
        at = token
        while at >= 0 and (window is None or depths[token] - depths[at] < window):
            hidden[token, at] = 0
            at = parents[at]
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(2, 3) * scale + hidden
    return (scores.softmax(-1) @ value).transpose(1, 2)


def operands(length, heads, dimensions, seed):
    torch.manual_seed(seed)
    shapes = [heads[0], heads[1], heads[1], heads[0]]
    query, key, value, grad = (torch.randn(1, h, length, dimensions) for h in shapes)
    return query, key, value, grad.transpose(1, 2)


def with_gradients(attend, operands, grad):
    leaves = [x.clone().requires_grad_() for x in operands]
    out = attend(*leaves)
    out.backward(grad.to(out.dtype))
    return [out.detach(), *(leaf.grad for leaf in leaves)]


def library_of(how: str, dtype: torch.dtype) -> ctypes.CDLL | None:
    if how == "plain":
        return None
    library = kernels.compiled(dtype, (how,) if how else ())
    assert library is not None
    return library


def compare(
    length, heads, dimensions, window, branching, seed, how, dtype=torch.float32, tolerance=1e-5,
    first=0,
):  # fmt: skip
    parents, depths, ends = random_tree(length, seed, branching)
    *inputs, grad = operands(length, heads, dimensions, seed)
    scale = dimensions**-0.5

    def tree(query, key, value):
        layout = TreeLayout(depths, ends, CPU, first)
        return tree_attention(
            torch.nn.Module(), query[:, :, first:], key, value, None,
            tree=layout, scaling=scale, sliding_window=window,
        )[0]  # fmt: skip

    def dense(query, key, value):
        return dense_attention(query, key, value, parents, depths, window, scale)[:, first:]

    rounded, grad = [x.to(dtype) for x in inputs], grad[:, first:]
    with mock.patch.object(module, "kernel_for", lambda query: library_of(how, query.dtype)):
        found = with_gradients(tree, rounded, grad.to(dtype))
    expected = with_gradients(dense, [x.float() for x in rounded], grad.to(dtype))
    for name, got, wanted in zip(("out", "query", "key", "value"), found, expected, strict=True):
        assert got.dtype == dtype
        torch.testing.assert_close(
            got.float(), wanted, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@settings(max_examples=40, deadline=None)
@given(
    length=st.sampled_from(LENGTHS),
    heads=st.sampled_from(HEADS),
    dimensions=st.sampled_from([8, 16, 64, 80, 128, 256]),
    window=st.sampled_from([None, 1, 7, 64]),
    branching=st.sampled_from([0.0, 0.05, 0.5]),
    seed=st.integers(0, 1000),
    how=st.sampled_from(HOW),
)
def test_a_tree_of_any_shape_attends_as_under_a_dense_mask(
    length, heads, dimensions, window, branching, seed, how
):
    compare(length, heads, dimensions, window, branching, seed, how)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("heads", HEADS)
def test_no_two_heads_share_their_scores_at_any_length(length, heads, how):
    compare(length, heads, 16, None, 0.05, seed=3, how=how)


@settings(max_examples=30, deadline=None)
@given(
    length=st.sampled_from(LENGTHS),
    first=st.integers(0, 299),
    heads=st.sampled_from(HEADS),
    window=st.sampled_from([None, 1, 7, 64]),
    branching=st.sampled_from([0.0, 0.05, 0.5]),
    seed=st.integers(0, 1000),
    how=st.sampled_from(HOW),
)
def test_there_may_be_keys_before_the_first_query(
    length, first, heads, window, branching, seed, how
):
    compare(length, heads, 16, window, branching, seed, how, first=first % length)


@settings(max_examples=10, deadline=None)
@given(
    length=st.sampled_from(LENGTHS),
    heads=st.sampled_from(HEADS),
    branching=st.sampled_from([0.0, 0.05, 0.5]),
    how=st.sampled_from(HOW),
)
def test_in_bfloat16_it_is_as_near_as_eight_bits_of_mantissa(length, heads, branching, how):
    compare(length, heads, 64, None, branching, 5, how, torch.bfloat16, tolerance=5e-2)


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_the_kernel_computes_the_same_on_any_number_of_threads(threads, one_thread):
    torch.set_num_threads(threads)
    compare(300, (6, 3), 64, None, 0.05, seed=threads, how="")


def test_who_sees_itself_alone_takes_its_own_value_however_large_its_score():
    depths, ends = np.zeros(70, np.int64), np.arange(1, 71)
    *inputs, grad = operands(70, (2, 1), 16, seed=1)
    inputs[0] *= 1e4
    out, *grads = with_gradients(
        lambda q, k, v: tree_attention(
            torch.nn.Module(), q, k, v, None, tree=TreeLayout(depths, ends, CPU), scaling=1.0
        )[0],
        inputs,
        grad,
    )
    assert torch.equal(out, inputs[2].transpose(1, 2).expand_as(out))
    assert all(grad.isfinite().all() for grad in grads)
    torch.testing.assert_close(grads[0], torch.zeros_like(grads[0]), rtol=0, atol=1e-5)
