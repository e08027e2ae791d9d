"""Trains on given groups with TRL: its loss, its trainer's step, without its generation."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from channel import Channel, Message
from datasets import Dataset
from pace import Pace, grpo_settings
from torch import Tensor
from trl import GRPOTrainer


class GivenRollouts(GRPOTrainer):
    """A trainer whose rollouts are given instead of generated."""

    rows_a_pass: int
    micro_batches: list[dict[str, Tensor]]

    def take(self, request: Message) -> None:
        """The rollouts of the next step: rows of one turn each, or conversations of equal lengths
        as one row each, whose loss leaves out what was read."""
        if "rollouts" in request:
            parts = request["rollouts"][0]
            prompt = len(parts[0])
            drawn_T = torch.tensor([i % 2 for i, part in enumerate(parts) for _ in part])
            rows_BT = torch.tensor([[*chain(*parts)] for parts in request["rollouts"]])
        else:
            prompt = request["prompt"]
            rows_BT = torch.tensor([row for group in request["rows"] for row in group])
            drawn_T = torch.ones_like(rows_BT[0])
        trained = len(rows_BT) * drawn_T[prompt:].sum().item()
        advantages_B = torch.tensor([-1.0, 1.0]).repeat(len(rows_BT) // 2)
        self.micro_batches = [
            {
                "prompt_ids": ids_bT[:, :prompt],
                "prompt_mask": torch.ones_like(ids_bT[:, :prompt]),
                "completion_ids": ids_bT[:, prompt:],
                "completion_mask": torch.ones_like(ids_bT[:, prompt:]),
                "tool_mask": drawn_T[prompt:].expand_as(ids_bT[:, prompt:]),
                "advantages": advantages_b,
                "num_items_in_batch": torch.tensor(trained),
            }
            for ids_bT, advantages_b in zip(
                rows_BT.split(self.rows_a_pass), advantages_B.split(self.rows_a_pass), strict=True
            )
        ]

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Tensor]:
        return self.micro_batches[self._step % len(self.micro_batches)]


def main() -> None:
    """Load and train, a step a request."""
    channel = Channel()
    settings = channel.settings
    rows_a_pass = settings["rows_a_pass"]
    trainer = GivenRollouts(
        model=settings["model"],
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        train_dataset=Dataset.from_list([{"prompt": "not used"}] * 64),
        args=grpo_settings(
            settings["output"],
            per_device_train_batch_size=rows_a_pass,
            gradient_accumulation_steps=settings["rows"] // rows_a_pass,
            gradient_checkpointing=False,  # faster, and with this micro-batch there is memory
            max_steps=1_000,
            bf16=settings["bf16"],
        ),
    )
    trainer.rows_a_pass = rows_a_pass
    trainer.add_callback(Pace(channel, before=trainer.take))
    trainer.train()


if __name__ == "__main__":
    main()
