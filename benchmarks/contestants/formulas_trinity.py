"""Trinity-RFT's own advantages, losses and divergences on drawn rollouts.

A type's parts and their arguments are found as Trinity finds them, by its validator. What is
written here is only how a draw (`agreement/draws.py`) becomes its inputs.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from channel import Channel, Message
from rows_of_tokens import Rows
from torch import Tensor
from trinity.algorithm import ADVANTAGE_FN, KL_FN, POLICY_LOSS_FN
from trinity.common.config import Config, ExperienceBufferConfig
from trinity.common.config_validator import AlgorithmConfigValidator
from trinity.common.experience import EID, Experience


def resolved(algorithm_type: str, settings: Message) -> Any:
    """The section `algorithm` of a configuration, with Trinity's defaults in it."""
    config = Config()
    config.algorithm.algorithm_type = algorithm_type
    for key, value in settings.items():
        setattr(config.algorithm, key, value)
    if algorithm_type in ("sft", "cpt", "dpo"):
        config.mode = "train"
        buffer = ExperienceBufferConfig(name="given", path="given")
        config.buffer.trainer_input.experience_buffer = buffer
    AlgorithmConfigValidator().validate(config)
    return config.algorithm


def advantages(algorithm: Any, rows: Rows) -> tuple[Tensor, Tensor]:
    """[B, T] each: the advantages and the mask, which some of them change."""
    function = ADVANTAGE_FN.get(algorithm.advantage_fn)(**algorithm.advantage_fn_args)
    if function.compute_in_trainer():
        return in_trainer(function, rows)
    experiences = [
        Experience(
            eid=EID(batch=0, task=row.group, run=row.rollout, step=row.call),
            tokens=torch.zeros(1 + len(row), dtype=torch.int32),
            logprobs=torch.tensor(row.numbers["sampler"]),
            reward=row.reward,
            info={
                "env_state_hash": row.state,
                **({"step_reward": row.step_reward} if row.dense else {}),
            },
        )
        for row in rows.rows
        if not row.expert
    ]
    function(list(experiences))
    result_BT = torch.zeros(rows.shape)
    sampled = (at for at, row in enumerate(rows.rows) if not row.expert)
    for at, experience in zip(sampled, experiences, strict=True):
        if experience.advantages is not None:
            result_BT[at, : len(rows.rows[at])] = experience.advantages
    return result_BT, rows.mask


def in_trainer(function: Any, rows: Rows) -> tuple[Tensor, Tensor]:
    """Of those that read padded rows."""
    experiences = SimpleNamespace(
        batch={
            "token_level_rewards": rows.token_rewards(),
            "response_mask": rows.mask.float(),
            "values": rows.padded("value"),
            "old_log_probs": rows.padded("sampler"),
            "rollout_log_probs": rows.padded("sampler"),
            "teacher_logprobs": rows.padded("teacher"),
            "entropys": rows.padded("entropy"),
            "necs": rows.padded("prediction"),
            "reward_baselines": torch.tensor([row.numbers["value"][0] for row in rows.rows]),
        },
        non_tensor_batch={"uid": np.array([str(row.group) for row in rows.rows])},
    )
    experiences, _ = function(experiences)
    return experiences.batch["advantages"], experiences.batch["response_mask"].bool()


def loss(
    algorithm: Any, rows: Rows, advantages_BT: Tensor, mask_BT: Tensor
) -> tuple[float, Tensor]:
    """The loss with its divergence, and the gradient [B, T] by each token's ln p."""
    policy = POLICY_LOSS_FN.get(algorithm.policy_loss_fn)(
        backend="verl", **algorithm.policy_loss_fn_args
    )
    divergence = KL_FN.get(algorithm.kl_loss_fn)(**algorithm.kl_loss_fn_args)
    logprobs_BT = rows.padded("logprob").requires_grad_()
    old_BT, reference_BT = rows.padded("sampler"), rows.padded("reference")
    value, _ = policy(
        logprob=logprobs_BT,
        old_log_probs=old_BT,
        ref_log_prob=reference_BT,
        response_mask=mask_BT,
        advantages=advantages_BT,
        expert_mask=torch.tensor([row.expert for row in rows.rows]),
        step=torch.zeros(len(rows.rows)),
    )
    term, _ = divergence.calculate_kl_loss(
        logprob=logprobs_BT,
        ref_logprob=reference_BT,
        response_mask=mask_BT,
        loss_agg_mode=algorithm.loss_agg_mode,
        old_logprob=old_BT,
    )
    total = value + term
    total.backward()
    assert logprobs_BT.grad is not None
    return total.item(), logprobs_BT.grad


def work(request: Message) -> Message:
    """One type on one draw, whole or in micro-batches whose losses are averaged."""
    algorithm = resolved(request["type"], request["settings"])
    rows = Rows(request["draw"], merged=request.get("merged", False))
    if request.get("given") or algorithm.policy_loss_fn in ("sft", "sft_is", "sft_phi", "dpo"):
        advantages_BT, mask_BT = rows.padded("advantage"), rows.mask
    else:
        advantages_BT, mask_BT = advantages(algorithm, rows)
    parts = rows.split(request.get("micro_batches", 1))
    pieces = zip(
        parts,
        advantages_BT.split(len(parts[0].rows)),
        mask_BT.split(len(parts[0].rows)),
        strict=True,
    )
    losses = [loss(algorithm, *piece) for piece in pieces]
    gradient_BT = torch.cat([gradient_bT for _, gradient_bT in losses]) / len(losses)
    return {
        "advantage": rows.flat(advantages_BT * mask_BT),
        "loss": sum(value for value, _ in losses) / len(losses),
        "gradient": rows.flat(gradient_BT),
    }


if __name__ == "__main__":
    Channel().serve(work)
