"""Protobuf messages of the Tinker protocol, from and to what `tinker_adapters` computes with."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
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
        _dense(datum.loss_fn_inputs["target_tokens"], np.int64),
        _dense(datum.loss_fn_inputs["weights"], np.float32),
    )
    if not len(row.tokens_T) == len(row.targets_T) == len(row.weights_T):
        raise UserError("tokens, targets and weights differ in length")
    return row


def _dense(tensor: pb.Tensor, dtype: type) -> Tensor:
    return torch.from_numpy(np.frombuffer(tensor.dense, dtype).copy())


def forward_backward_output(logprobs: Sequence[Tensor], loss: float) -> bytes:
    """ln p of every target, datum by datum, and the loss."""
    arrays = [values_T.numpy() for values_T in logprobs]
    offsets = [0, *accumulate(array.nbytes for array in arrays)]
    field = pb.BatchedTensor(
        data=np.concatenate(arrays).tobytes(),
        offsets=np.array(offsets, np.int64).tobytes(),
        dtype=pb.DTYPE_FLOAT32,
    )
    record = pb.ArrayRecord(num_datums=len(arrays), fields={"logprobs": field})
    message = pb.ForwardBackwardOutput(
        loss_fn_output_type="ArrayRecord", loss_fn_outputs=[record], metrics={"loss:sum": loss}
    )
    return message.SerializeToString()


def sample_response(drawn: Sequence[Drawn], prompt_logprobs: Sequence[float] | None) -> bytes:
    """What was drawn behind one prompt."""
    message = pb.SampleResponse(sequences=[_sequence(one) for one in drawn])
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
