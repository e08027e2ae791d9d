"""TRL's own trainers on drawn rollouts: their advantages from rewards, their loss from ln p.

The trainers are real ones around a tiny random model; what that model computes is not looked at:
log-probabilities are the draw's.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from channel import Channel, Message
from datasets import Dataset
from rows_of_tokens import Rows
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.experimental.gkd import GKDTrainer

LENGTH = 8
"""Most tokens of a completion."""


class GivenLogprobs:
    """Replaces what a trainer would compute with its model."""

    rows: Rows | None = None
    logprobs_BT: Tensor

    def take(self, rows: Rows) -> None:
        """The draw of the next loss."""
        self.rows = rows
        self.logprobs_BT = rows.padded("logprob").requires_grad_()

    def _get_per_token_logps_and_entropies(self, *args: Any, **more: Any) -> Any:
        if self.rows is None:  # while it scores what it has generated
            return super()._get_per_token_logps_and_entropies(*args, **more)  # type: ignore[misc]
        return self.logprobs_BT, self.rows.padded("entropy"), None


class Grpo(GivenLogprobs, GRPOTrainer):
    """GRPO of given log-probabilities."""


class Rloo(GivenLogprobs, RLOOTrainer):
    """RLOO of given log-probabilities."""


KINDS = {"grpo": (Grpo, GRPOConfig), "rloo": (Rloo, RLOOConfig)}


class Trainers:
    """Makes trainers of one tiny model."""

    def __init__(self, tokenizer: str) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(tokenizer, padding_side="left")
        self._directory = tempfile.mkdtemp()
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(self._tokenizer),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
        )
        LlamaForCausalLM(config).save_pretrained(self._directory)  # trainers ask for its path
        self._model = LlamaForCausalLM.from_pretrained(self._directory)
        self._made: dict[str, Any] = {}
        self._rewards: list[list[float]] = []

    def _shared(self, size: int) -> Message:
        return {
            "output_dir": self._directory,
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "per_device_train_batch_size": size,
            "report_to": "none",
            "disable_tqdm": True,
        }

    def group_trainer(self, request: Message, rewards: list[list[float]]) -> Any:
        """A trainer of GRPO or RLOO whose reward functions return `rewards`, one list each."""
        self._rewards = rewards
        settings, size = request["settings"], len(rewards[0])
        key = json.dumps([request["trainer"], settings, size, len(rewards)])
        if key not in self._made:
            made, config = KINDS[request["trainer"]]
            self._made[key] = made(
                model=self._model,
                processing_class=self._tokenizer,
                reward_funcs=[self._reward_function(at) for at in range(len(rewards))],
                train_dataset=Dataset.from_list([{"prompt": "1"}] * size),
                args=config(
                    **self._shared(size),
                    num_generations=request["samples"],
                    max_completion_length=LENGTH,
                    **{"beta": 0.0, **settings},
                ),
            )
        return self._made[key]

    def _reward_function(self, at: int) -> Callable[..., list[float]]:
        return lambda completions, **_: self._rewards[at]

    def pair_trainer(self, settings: Message, size: int) -> Any:
        """A trainer of DPO."""
        pair = {"prompt": "1", "chosen": "2", "rejected": "3"}
        return DPOTrainer(
            model=self._model,
            processing_class=self._tokenizer,
            train_dataset=Dataset.from_list([pair] * size),
            args=DPOConfig(**self._shared(size), **settings),
        )


def group_loss(trainer: Any, rows: Rows, advantages_B: Tensor) -> tuple[float, Tensor]:
    """The loss of a whole batch, and its gradient [B, T]."""
    trainer.take(rows)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    mask_BT, old_BT = rows.mask.long(), rows.padded("sampler")
    one_B1 = torch.ones(len(rows.rows), 1, dtype=torch.long)
    loss = trainer._compute_loss(
        trainer.model,
        {
            "prompt_ids": one_B1,
            "prompt_mask": one_B1,
            "completion_ids": mask_BT,
            "completion_mask": mask_BT,
            "advantages": advantages_B,
            "old_per_token_logps": old_BT,
            "old_logps": (old_BT * mask_BT).sum(1),
            "ref_per_token_logps": rows.padded("reference"),
            "num_items_in_batch": mask_BT.sum(),
        },
    )
    loss.backward()
    assert trainer.logprobs_BT.grad is not None
    return loss.item(), trainer.logprobs_BT.grad


def of_groups(trainers: Trainers, request: Message, rows: Rows) -> Message:
    """Advantages by the trainer's scoring, or the loss of the draw's own advantages."""
    rewards = [[row.reward for row in rows.rows]]
    if request["settings"].get("multi_objective_aggregation") == "normalize_then_sum":
        rewards.append([row.step_reward for row in rows.rows])
    trainer = trainers.group_trainer(request, rewards)
    if request["part"] == "advantage":
        trainer.model.train()
        scored = trainer._generate_and_score_completions([{"prompt": "1"}] * len(rows.rows))
        return {"advantage": rows.flat(scored["advantages"][:, None].expand(rows.shape))}
    loss, gradient_BT = group_loss(trainer, rows, rows.padded("advantage")[:, 0])
    return {"loss": loss, "gradient": rows.flat(gradient_BT)}


def of_pairs(trainers: Trainers, request: Message, rows: Rows) -> Message:
    """The loss of pairs: a draw's rows are chosen and rejected ones in turn."""
    trainer = trainers.pair_trainer(request["settings"], len(rows.rows) // 2)
    order = [*range(0, len(rows.rows), 2), *range(1, len(rows.rows), 2)]
    logprobs_BT = rows.padded("logprob").requires_grad_()
    mask_BT = rows.mask

    def model(given_BT: Tensor) -> Any:
        known_BT = (given_BT * mask_BT)[order]
        zeros_BT = torch.zeros_like(known_BT)
        return lambda **_: SimpleNamespace(
            log_probs=known_BT, entropy=zeros_BT, mean_logits=zeros_BT, is_top1=zeros_BT.bool()
        )

    trainer.ref_model = model(rows.padded("reference"))
    prompt_B1 = torch.zeros(len(rows.rows), 1, dtype=torch.long)
    completion_mask = torch.cat([prompt_B1, mask_BT[order].long()], dim=1)
    ones = torch.ones_like(completion_mask)
    batch = {"input_ids": ones, "attention_mask": ones, "completion_mask": completion_mask}
    loss = trainer._compute_loss(model(logprobs_BT), batch, False)
    loss.backward()
    assert logprobs_BT.grad is not None
    return {"loss": loss.item(), "gradient": rows.flat(logprobs_BT.grad)}


def of_distributions(request: Message) -> Message:
    """The divergence of two distributions over the whole vocabulary, by the student's logits."""
    call = request["draw"][0][0]["calls"][0]
    student_V = torch.tensor(call["logprob"]).requires_grad_()
    teacher_V = torch.tensor(call["teacher"])
    loss = GKDTrainer.generalized_jsd_loss(
        student_V[None, None], teacher_V[None, None], beta=request["beta"]
    )
    loss.backward()
    assert student_V.grad is not None
    return {"gradient": student_V.grad.tolist()}


def main() -> None:
    """Load and serve."""
    channel = Channel()
    trainers = Trainers(channel.settings["tokenizer"])

    def work(request: Message) -> Message:
        if request["trainer"] == "gkd":
            return of_distributions(request)
        rows = Rows(request["draw"])
        return (of_pairs if request["trainer"] == "dpo" else of_groups)(trainers, request, rows)

    channel.serve(work)


if __name__ == "__main__":
    main()
