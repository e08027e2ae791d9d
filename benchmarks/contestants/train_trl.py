"""Trains on given groups with TRL: its loss, its trainer's step, without its generation."""

from __future__ import annotations

from typing import Any

import torch
from channel import Channel, Message
from datasets import Dataset
from pace import Pace, grpo_settings
from torch import Tensor
from trl import GRPOTrainer

MICRO_BATCH = 8
"""Samples of a forward pass: with more, activations do not fit."""


class GivenRollouts(GRPOTrainer):
    """A trainer whose rollouts are given instead of generated."""

    micro_batches: list[dict[str, Tensor]]

    def take(self, request: Message) -> None:
        """The rollouts of the next step."""
        prompt = request["prompt"]
        rows_BT = torch.tensor([row for group in request["rows"] for row in group])
        trained = rows_BT[:, prompt:].numel()
        advantages_B = torch.tensor([-1.0, 1.0]).repeat(len(rows_BT) // 2)
        self.micro_batches = [
            {
                "prompt_ids": ids_bT[:, :prompt],
                "prompt_mask": torch.ones_like(ids_bT[:, :prompt]),
                "completion_ids": ids_bT[:, prompt:],
                "completion_mask": torch.ones_like(ids_bT[:, prompt:]),
                "advantages": advantages_b,
                "num_items_in_batch": torch.tensor(trained),
            }
            for ids_bT, advantages_b in zip(
                rows_BT.split(MICRO_BATCH), advantages_B.split(MICRO_BATCH), strict=True
            )
        ]

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Tensor]:
        return self.micro_batches[self._step % len(self.micro_batches)]


def main() -> None:
    """Load and train, a step a request."""
    channel = Channel()
    settings = channel.settings
    trainer = GivenRollouts(
        model=settings["model"],
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        train_dataset=Dataset.from_list([{"prompt": "not used"}] * 64),
        args=grpo_settings(
            settings["output"],
            per_device_train_batch_size=MICRO_BATCH,
            gradient_accumulation_steps=settings["rows"] // MICRO_BATCH,
            gradient_checkpointing=False,  # faster, and with this micro-batch there is memory
            max_steps=1_000,
        ),
    )
    trainer.add_callback(Pace(channel, before=trainer.take))
    trainer.train()


if __name__ == "__main__":
    main()
