"""A GGUF file is loaded again and its tokens compared before anybody is told that it is done."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agentscope_tuner.errors import RunError
from agentscope_tuner.inference.loading import load_gguf

PROMPTS = (
    "What is 17 + 25? Think step by step.",
    "Write a short letter to a friend: dear Anna,\n\n",
    '{"name": "Zoë", "items": [1, 22, 333],',
)
TOKENS = 24
"""That are compared after each prompt."""
LOSSY = 0.9
"""Share of equal likeliest tokens that a rounded model has to keep."""


def compare(
    path: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    lossless: bool,
) -> float:
    """The share of tokens that the file's model has in common with `model`'s greedy answers.

    The file's model reads the same answers, so one token that differs does not make others differ.
    Raises RunError: the tokenizers differ, or the models by more than rounding explains.
    """
    copy, theirs = load_gguf(path)
    equal = total = 0
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        if theirs(prompt, return_tensors="pt")["input_ids"].tolist() != ids.tolist():
            raise RunError(f"The file's tokenizer reads {prompt!r} differently.")
        with torch.inference_mode():
            answer = _greedy(model, ids)
            again = copy(answer[:, :-1]).logits[0, ids.shape[1] - 1 :].argmax(-1)
        equal += int((again == answer[0, ids.shape[1] :]).sum())
        total += TOKENS
    share = equal / total
    if share < (1.0 if lossless else LOSSY):
        raise RunError(
            f"The file's model agrees with the original on {equal} of {total} greedy tokens only."
        )
    return share


def _greedy(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """The prompt and its likeliest continuation; without a cache, so that both compute alike."""
    for _ in range(TOKENS):
        ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
    return ids
