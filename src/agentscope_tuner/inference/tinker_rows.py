"""Several tokens asked for at one position of a sequence, and the probability of one among them.

A row belongs to a position and names the tokens that could have been drawn there, or the one that
was. On the wire rows are a sparse matrix, [positions, the longest row].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from tinker import TensorData
from torch import Tensor

Rows = Sequence[Sequence[int]]


def ids_of(rows: Rows) -> TensorData:
    """The rows as the service takes them."""
    return _sparse([token for row in rows for token in row], "int64", rows)


def zeros_like(rows: Rows) -> TensorData:
    """A 0 for each of their tokens."""
    return _sparse([0.0] * sum(map(len, rows)), "float32", rows)


def among(logprobs_K: Tensor, row: Sequence[int], token: int) -> Tensor:
    """ln p of a token where one of its row had to be drawn; `logprobs_K` begin with the row's."""
    within_k = logprobs_K[: len(row)]
    return within_k[list(row).index(token)] - torch.logsumexp(within_k, 0)


def _sparse(values: list[int] | list[float], dtype: str, rows: Rows) -> TensorData:
    return TensorData(
        data=values,
        dtype=dtype,  # type: ignore[arg-type]
        shape=[len(rows), max(map(len, rows))],
        sparse_crow_indices=[0, *accumulate(map(len, rows))],
        sparse_col_indices=[column for row in rows for column in range(len(row))],
    )
