"""Protobuf messages of the Tinker protocol, from and to what `tinker_adapters` computes with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tinker.proto import tinker_public_pb2 as pb
from tinker_adapters import Drawn, Row
from torch import Tensor


class UserError(ValueError):
    """A request that the service does not serve."""


def read_rows(request: pb.ForwardBackwardRequest) -> list[Row]:
    """The rows of a request. Raises UserError for what is not served here."""
    if request.loss_fn != "cross_entropy":
        raise UserError(f"loss_fn {request.loss_fn} is not served")
    return [_row(datum) for datum in request.data]


def _row(datum: pb.Datum) -> Row:
    tokens = [np.frombuffer(chunk.encoded_text.tokens, np.int32) for chunk in datum.model_input]
    row = Row(
        torch.from_numpy(np.concatenate(tokens).astype(np.int64)),
        _matrix(datum.loss_fn_inputs["target_tokens"], np.int64),
        _matrix(datum.loss_fn_inputs["weights"], np.float32),
    )
    if not len(row.tokens_T) == len(row.targets_TK) == len(row.weights_TK):
        raise UserError("tokens, targets and weights differ in length")
    return row


def _matrix(tensor: pb.Tensor, dtype: type) -> Tensor:
    """[T, K], where one of a single dimension has K = 1."""
    if not tensor.HasField("sparse_csr"):
        values = torch.from_numpy(np.frombuffer(tensor.dense, dtype).copy())
        return values.reshape(*tensor.shape[:1], -1)
    csr = tensor.sparse_csr
    parts = (np.frombuffer(csr.crow_indices, np.int64), np.frombuffer(csr.col_indices, np.int64))
    return from_csr(*parts, np.frombuffer(csr.values, dtype), list(tensor.shape), pad=0)


def from_csr(
    crow: Sequence[int], columns: Sequence[int], values: Any, shape: Sequence[int], pad: int
) -> Tensor:
    """A matrix in compressed rows, with `pad` where nothing is listed."""
    values = torch.as_tensor(np.array(values))
    matrix = torch.full(tuple(shape), pad, dtype=values.dtype)
    rows = np.repeat(np.arange(len(crow) - 1), np.diff(crow))
    matrix[torch.from_numpy(rows), torch.as_tensor(np.array(columns))] = values
    return matrix


def forward_backward_output(logprobs: Sequence[Tensor], loss: float) -> bytes:
    """ln p of every target, datum by datum, and the loss."""
    message = pb.ForwardBackwardOutput(
        loss_fn_output_type="ArrayRecord",
        loss_fn_outputs=[_record(values_TK.numpy()) for values_TK in logprobs],
        metrics={"loss:sum": loss},
    )
    return message.SerializeToString()


def _record(values_TK: NDArray[np.float32]) -> pb.ArrayRecord:
    width = values_TK.shape[1]
    field = pb.BatchedTensor(
        data=values_TK.tobytes(),
        offsets=np.array([0, values_TK.nbytes], np.int64).tobytes(),
        dtype=pb.DTYPE_FLOAT32,
        trailing_shape=[] if width == 1 else [width],
    )
    return pb.ArrayRecord(num_datums=1, fields={"logprobs": field})


def sample_response(
    drawn: Sequence[Drawn], prompt_logprobs: Sequence[float] | None, targets_TK: Tensor | None
) -> bytes:
    """What was drawn behind one prompt, and ln p of tokens in it."""
    message = pb.SampleResponse(sequences=[_sequence(one) for one in drawn])
    if targets_TK is not None:
        message.target_prompt_logprobs.dense = targets_TK.numpy().tobytes()
        message.target_prompt_logprobs.shape.extend(targets_TK.shape)
        message.target_prompt_logprobs.dtype = pb.DTYPE_FLOAT32
    if prompt_logprobs is not None:
        message.prompt_logprobs = np.array(prompt_logprobs, np.float32).tobytes()
    return message.SerializeToString()


def _sequence(drawn: Drawn) -> pb.SampledSequence:
    message = pb.SampledSequence(
        stop_reason=pb.STOP_REASON_STOP if drawn.stopped else pb.STOP_REASON_LENGTH,
        tokens=np.array(drawn.tokens, np.int32).tobytes(),
        logprobs=np.array(drawn.logprobs, np.float32).tobytes(),
    )
    if drawn.top:
        ids = [[token for token, _ in position] for position in drawn.top]
        logprobs = [[logprob for _, logprob in position] for position in drawn.top]
        message.topk_sampled_logprobs.CopyFrom(
            pb.TopkLogprobs(
                token_ids=np.array(ids, np.int32).tobytes(),
                logprobs=np.array(logprobs, np.float32).tobytes(),
                k=len(ids[0]),
                length=len(ids),
            )
        )
    return message
