"""verl's own advantages and losses on drawn rollouts, for what Trinity-RFT has no word for."""

from __future__ import annotations

import numpy as np
import torch
from channel import Channel, Message
from omegaconf import OmegaConf
from rows_of_tokens import Rows
from torch import Tensor
from verl.trainer.ppo import core_algos


def advantages(name: str, rows: Rows, arguments: Message) -> Tensor:
    """An advantage estimator's [B, T]."""
    groups = np.array([str(row.group) for row in rows.rows])
    mask_BT = rows.mask.float()
    if name == "gdpo":
        arguments = {
            "config": OmegaConf.create({"gdpo_reward_keys": ["first", "second"]}),
            "non_tensor_batch": {
                "first": [row.reward for row in rows.rows],
                "second": [row.step_reward for row in rows.rows],
            },
            "batch": {
                "prompts": torch.zeros(len(rows.rows), 1),
                "attention_mask": torch.cat([torch.ones(len(rows.rows), 1), mask_BT], 1).long(),
            },
        }
    elif name == "gae":
        arguments = {"values": rows.padded("value"), **arguments}
    if name != "gae":
        arguments = {"index": groups, **arguments}
    result_BT, _ = core_algos.get_adv_estimator_fn(name)(
        token_level_rewards=rows.token_rewards(), response_mask=mask_BT, **arguments
    )
    return result_BT


def policy_loss(name: str, rows: Rows, arguments: Message, mode: str) -> tuple[float, Tensor]:
    """A policy loss of the given advantages, and its gradient [B, T]."""
    logprobs_BT = rows.padded("logprob").requires_grad_()
    config = OmegaConf.create(
        {"clip_ratio": 0.2, "clip_ratio_low": None, "clip_ratio_high": None, **arguments}
        | {"global_batch_info": {}}
    )
    value, _ = core_algos.get_policy_loss_fn(name)(
        old_log_prob=rows.padded("sampler"),
        log_prob=logprobs_BT,
        advantages=rows.padded("advantage"),
        response_mask=rows.mask.float(),
        loss_agg_mode=mode,
        config=config,
    )
    value.backward()
    assert logprobs_BT.grad is not None
    return value.item(), logprobs_BT.grad


def value_loss(rows: Rows) -> tuple[float, Tensor]:
    """The critic's loss, and its gradient [B, T] by each value."""
    values_BT = rows.padded("prediction").requires_grad_()
    value, _ = core_algos.compute_value_loss(
        values_BT, rows.padded("return"), rows.padded("value"), rows.mask.float(), 0.5
    )
    value.backward()
    assert values_BT.grad is not None
    return value.item(), values_BT.grad


def work(request: Message) -> Message:
    """What is asked for."""
    rows = Rows(request["draw"], merged=request.get("merged", False))
    arguments = request.get("arguments", {})
    answer: Message = {}
    if "advantage" in request:
        answer["advantage"] = rows.flat(advantages(request["advantage"], rows, arguments))
        return answer
    if request["loss"] == "value":
        loss, gradient_BT = value_loss(rows)
    else:
        mode = request.get("mode", "token-mean")
        loss, gradient_BT = policy_loss(request["loss"], rows, arguments, mode)
    return {"loss": loss, "gradient": rows.flat(gradient_BT)}


if __name__ == "__main__":
    Channel().serve(work)
