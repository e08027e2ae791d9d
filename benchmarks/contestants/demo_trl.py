"""The arithmetic example with TRL's GRPOTrainer: same model, tasks, prompts, reward, settings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from channel import Channel, Message
from datasets import Dataset
from pace import Pace, grpo_settings
from transformers import AutoTokenizer, GenerationConfig
from trl import GRPOTrainer

NEW = 24
SYSTEM = "You are a helpful math problem solving agent."


def read_tasks(path: Path) -> list[dict[str, Any]]:
    """The example's tasks with the messages that its agent sends."""
    tasks = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        {
            "prompt": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": task["question"]},
            ],
            "answer": task["answer"],
        }
        for task in tasks
    ]


def reward(reply: str, answer: str) -> float:
    """The example's judge: 1 if the last number of the reply is the answer."""
    numbers = re.findall(r"-?\d+", reply)
    return 1.0 if numbers and numbers[-1] == answer else 0.0


def rewards(completions: list[list[Message]], answer: list[str], **_: Any) -> list[float]:
    """The judge in the form that TRL calls."""
    pairs = zip(completions, answer, strict=True)
    return [reward(completion[0]["content"], right) for completion, right in pairs]


def main() -> None:
    """Load and train, a step a request."""
    channel = Channel()
    settings = channel.settings
    data = Path(settings["data"])
    held_out = read_tasks(data / "test.jsonl")
    tokenizer = AutoTokenizer.from_pretrained(settings["model"], padding_side="left")
    trainer = GRPOTrainer(
        model=settings["model"],
        processing_class=tokenizer,
        reward_funcs=rewards,
        train_dataset=Dataset.from_list(read_tasks(data / "train.jsonl")),
        args=grpo_settings(
            settings["output"],
            per_device_train_batch_size=8,  # of 64 a step; faster here than all at once
            gradient_accumulation_steps=8,
            max_completion_length=NEW,
            gradient_checkpointing=False,  # faster, and there is memory
            max_steps=settings["steps"],
            learning_rate=2e-5,
            seed=settings["seed"],
            bf16=settings["bf16"],
        ),
    )

    def evaluate(step: int) -> Message:
        """The mean reward on the held-out tasks, one sample each."""
        if step % settings["eval_interval"]:
            return {}
        inputs = tokenizer.apply_chat_template(
            [task["prompt"] for task in held_out],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        sampling = GenerationConfig(
            do_sample=True,
            top_k=0,
            max_new_tokens=NEW,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        trainer.model.eval()
        precision = torch.autocast("cpu", torch.bfloat16, enabled=settings["bf16"])
        with torch.no_grad(), precision, torch.random.fork_rng():
            torch.manual_seed(settings["seed"])  # the same numbers at every evaluation
            out_BT = trainer.model.generate(**inputs, generation_config=sampling)
        trainer.model.train()
        replies = tokenizer.batch_decode(
            out_BT[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        scores = [reward(r, task["answer"]) for r, task in zip(replies, held_out, strict=True)]
        return {"held_out": sum(scores) / len(scores), "answers": len(scores)}

    trainer.add_callback(Pace(channel, ready=evaluate, after=evaluate))
    trainer.train()


if __name__ == "__main__":
    main()
