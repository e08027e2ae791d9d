"""What `astuner export --format gguf` writes, read by llama.cpp: does it say what ours says?"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from models import bf16_directory
from peers import LLAMA_CPP
from race import Contestant
from results import Outcome, Row
from transformers import PreTrainedModel

from agentscope_tuner.engine.export import export_gguf
from agentscope_tuner.inference.loading import load_model, load_tokenizer

PROMPTS = (
    "What is 17 + 25? Think step by step.",
    "Write a short letter to a friend: dear Anna,\n\n",
    '{"name": "Zoë", "items": [1, 22, 333],',
    "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n",
)
NEW = 24
"""Tokens after each."""
TARGETS = {"f32": 0.99, "bf16": 0.95, "q8_0": 0.9}
"""Shares of equal tokens: llama.cpp adds in another order, rounds what it multiplies by bf16
weights, and has 8 bits of those of the last."""


def measure(quick: bool) -> Outcome:
    """Every format of the same model; each token after what llama.cpp has said before it."""
    source = bf16_directory()
    model, tokenizer = load_model(source, torch.float32), load_tokenizer(source)
    ids = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    rows = []
    with (
        tempfile.TemporaryDirectory() as place,
        Contestant("llama.cpp-greedy", "greedy_llama_cpp.py", {}, LLAMA_CPP.python) as theirs,
    ):
        for weights, target in TARGETS.items():
            made = export_gguf(str(source), Path(place, weights), weights, ollama=False)
            said = theirs.ask({"path": str(made.path), "prompts": PROMPTS, "new": NEW})
            equal = [
                of_model(model, prompt, answer)
                for prompt, answer in zip(said["prompts"], said["answers"], strict=True)
            ]
            same = said["prompts"] == ids
            total = NEW * len(PROMPTS)
            rows.append(
                Row(
                    f"exported as {weights}: greedy tokens of llama.cpp that are the model's",
                    "tokens",
                    target,
                    ours=sum(equal),
                    against="all",
                    peer=total,
                    ratio=sum(equal) / total,
                    note="" if same else "its tokenizer reads the prompts differently",
                )
            )
    return Outcome(rows)


def of_model(model: PreTrainedModel, prompt: list[int], answer: list[int]) -> int:
    """How many tokens of the answer are the model's likeliest after those before them."""
    read = torch.tensor([prompt + answer[:-1]])
    with torch.inference_mode():
        likeliest = model(read).logits[0, len(prompt) - 1 :].argmax(-1)
    return int((likeliest == torch.tensor(answer)).sum())
