"""Rollouts made of given tokens, for our learner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from agentscope_tuner.inference.loading import load_model
from agentscope_tuner.inference.model_runner import default_dtype
from agentscope_tuner.training.learner import LocalLearner
from agentscope_tuner.training.lora import LoraSettings
from agentscope_tuner.training.optimization import OptimizerSettings
from agentscope_tuner.training.packing import PackSize
from agentscope_tuner.trajectory import Rollout, RolloutGroup, Sampled, Segment, Trajectory

LOGPROB = -math.log(49_152)
"""Of every token: as if drawn from the whole vocabulary alike."""


def make_learner(directory: Path, *, lora_rank: int = 0) -> LocalLearner:
    """A learner with the demo's optimizer, packs of at most 8,192 tokens, and otherwise the packs
    and the precision that a run has on this processor; 0: all weights are tuned."""
    return LocalLearner(
        load_model(directory, torch.float32),
        optimizer=OptimizerSettings(lr=1e-5),
        pack_size=PackSize.on_a_processor(8192),
        compute_dtype=default_dtype(torch.device("cpu")),
        lora=LoraSettings(rank=lora_rank) if lora_rank else None,
    )


def sampled(token_ids: list[int], parent: int) -> Segment:
    """A segment that the model is said to have sampled."""
    known = Sampled([LOGPROB] * len(token_ids), [False] * len(token_ids), "policy", 0)
    return Segment(parent, token_ids, known)


def as_group(number: int, trajectories: Sequence[Trajectory]) -> RolloutGroup:
    """Rollouts of which every other one was good."""
    members = [
        Rollout(f"{number}-{i}", {}, trajectory, advantage=1.0 if i % 2 else -1.0)
        for i, trajectory in enumerate(trajectories)
    ]
    return RolloutGroup(str(number), {}, members)


def single_turn_groups(rows: Sequence[Sequence[list[int]]], prompt: int) -> list[RolloutGroup]:
    """Groups of rows of tokens whose first `prompt` ones are the prompt."""
    return [
        as_group(
            number,
            [
                Trajectory([Segment(None, row[:prompt]), sampled(row[prompt:], parent=0)])
                for row in group
            ],
        )
        for number, group in enumerate(rows)
    ]


def conversation(parts: Sequence[list[int]]) -> Trajectory:
    """A rollout of what was read and what was then sampled, in turn."""
    return Trajectory(
        [
            sampled(part, parent=i - 1) if i % 2 else Segment(i - 1 if i else None, part)
            for i, part in enumerate(parts)
        ]
    )
