"""Packs of one sequence each as a Tinker service is asked about them, and its answers.

A service is asked for the token behind each of a pack's tokens: the one that follows, or, where
only some could have been drawn, all of these. Shapes: T tokens of a pack, K targets of a token, N
trained tokens of the packs one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tinker
import torch
from tinker import types
from torch import Tensor

from agentscope_tuner.algorithms.batch import Batch
from agentscope_tuner.inference.tinker_rows import among, ids_of, zeros_like
from agentscope_tuner.inference.tinker_service import wait
from agentscope_tuner.training.pack import Pack


def data_of(packs: Sequence[Pack]) -> list[types.Datum]:
    """What the service computes ln p of."""
    return [_datum(pack) for pack in packs]


def logprobs_under(client: tinker.SamplingClient, packs: Sequence[Pack]) -> list[Tensor]:
    """ln p of the same under what `client` samples from: [T], or [T, K], a pack."""
    asked = [_ask(client, pack) for pack in packs]
    return [read(wait(future, "compute probabilities")) for future, read in asked]


def rows_of(packs: Sequence[Pack]) -> Tensor:
    """Where the packs' trained tokens are in the columns of their batch [N]."""
    return torch.from_numpy(np.concatenate([pack.rows_N for pack in packs]))


def trained(packs: Sequence[Pack], values: Sequence[Tensor]) -> Tensor:
    """ln p of the trained tokens among those that could have been drawn [N], of the service's
    values [T] or [T, K] for each pack."""
    return torch.cat([_of_pack(pack, found) for pack, found in zip(packs, values, strict=True)])


def in_order(batch: Batch, packs: Sequence[Pack], values_N: Tensor) -> Tensor:
    """The same in the order of the batch's columns."""
    ordered_N = torch.empty(len(batch))
    ordered_N[rows_of(packs)] = values_N.float()
    return ordered_N


def _datum(pack: Pack) -> types.Datum:
    *inputs, _ = tokens = _tokens(pack)
    length = len(inputs)
    if pack.supports:
        targets, weights = ids_of(rows := _rows(pack)), zeros_like(rows)
    else:
        targets = types.TensorData(tokens[1:], "int64", [length])
        weights = types.TensorData([0.0] * length, "float32", [length])
    return types.Datum(
        model_input=types.ModelInput.from_ints(inputs),
        loss_fn_inputs={"target_tokens": targets, "weights": weights},
    )


def _ask(client: tinker.SamplingClient, pack: Pack) -> tuple[Any, Callable[[Any], Tensor]]:
    """What is asked about one pack, and how its values are read off the answer."""
    tokens = types.ModelInput.from_ints(_tokens(pack))
    if not pack.supports:
        return client.compute_logprobs(tokens), lambda found: torch.tensor(found[1:])
    future = client.sample(
        tokens, 1, types.SamplingParams(max_tokens=1), target_prompt_logprobs=ids_of(_rows(pack))
    )
    return future, lambda found: found.target_prompt_logprobs.to_torch()


def _rows(pack: Pack) -> list[list[int]]:
    rows = [[token] for token in _tokens(pack)[1:]]
    for n, support in pack.supports.items():
        rows[int(pack.predecessors_N[n])] = support.tolist()
    return rows


def _tokens(pack: Pack) -> list[int]:
    """A pack's tokens, and the trained one behind them, which nothing follows."""
    return [*pack.token_ids_T.tolist(), int(pack.targets_N[-1])]


def _of_pack(pack: Pack, values: Tensor) -> Tensor:
    values_n = values[torch.from_numpy(pack.predecessors_N)]
    if not pack.supports:
        return values_n
    return torch.stack(
        [
            among(values_K, pack.supports[n].tolist(), int(target))
            if n in pack.supports
            else values_K[0]
            for n, (values_K, target) in enumerate(zip(values_n, pack.targets_N, strict=True))
        ]
    )
