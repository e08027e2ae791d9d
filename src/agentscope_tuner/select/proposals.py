"""New prompts: written by a model that sees what the ones before reached, or cut from the first.

A model is asked to rewrite (as in OPRO, Yang et al. 2023, arXiv:2309.03409); dropping sentences of
the prompt one by one (as in GrIPS, Prasad et al. 2022, arXiv:2203.07281) needs no model that is
good at it, and finds a sentence that misleads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agentscope_tuner.chat_model import ask
from agentscope_tuner.select.candidates import OpenModel

MAX_TOKENS = 256
MAX_CHARACTERS = 4000
"""Of a proposed prompt."""
_TIPS = (
    "Be short and clear.",
    "Say which steps to take before answering.",
    "Say in which form the answer must be given.",
    "Name the mistakes of the answers below and how to avoid them.",
    "Describe an expert for these tasks and let the assistant be that expert.",
    "Write it quite differently from the prompts so far.",
)


@dataclass(frozen=True, slots=True)
class Tried:
    """A prompt and what it reached."""

    prompt: str
    reward: float
    examples: Sequence[tuple[dict[str, Any], str, float | None]]
    """Tasks, answers and rewards (None: it failed)."""


def shortened(prompt: str) -> Iterator[str]:
    """The prompt without one of its sentences, and without all but the first."""
    sentences = [part for part in re.split(r"(?<=[.!?])\s+|\n+", prompt.strip()) if part.strip()]
    if len(sentences) > 1:
        for left_out in range(len(sentences)):
            yield " ".join(sentences[:left_out] + sentences[left_out + 1 :])
        yield sentences[0]


async def written(
    model: OpenModel, tried: Sequence[Tried], number: int, seed: Sequence[int]
) -> str | None:
    """A prompt that the model writes, the `number`-th of its round; None: it wrote none."""
    with model.rollout(f"proposal-{number}-{'-'.join(map(str, seed))}", (*seed, number)) as (
        one,
        _,
    ):
        text = await ask(one, _request(tried, number), max_tokens=MAX_TOKENS)
    return _prompt_in(text)


def _request(tried: Sequence[Tried], number: int) -> str:
    history = "\n\n".join(
        f"<prompt reward={one.reward:.3f}>\n{one.prompt}\n</prompt>"
        for one in sorted(tried, key=lambda one: one.reward)
    )
    best = max(tried, key=lambda one: one.reward)
    examples = "\n".join(
        f"Task: {json.dumps(task, ensure_ascii=False, default=str)[:600]}\n"
        f"Answer: {answer[:400]}\nReward: {'failed' if reward is None else f'{reward:.2f}'}"
        for task, answer, reward in best.examples
    )
    return (
        "You write the system prompt of an assistant, so that its answers earn more reward.\n\n"
        f"System prompts so far, and the mean reward of each:\n\n{history}\n\n"
        f"What the best of them led to:\n\n{examples}\n\n"
        f"Write one better system prompt. {_TIPS[number % len(_TIPS)]} "
        "Answer with the system prompt alone, between <prompt> and </prompt>."
    )


def _prompt_in(text: str) -> str | None:
    marked = re.findall(r"<prompt[^>]*>(.*?)(?:</prompt>|\Z)", text, flags=re.DOTALL)
    prompt = (marked[-1] if marked else text).strip().strip('"`').strip()
    return prompt[:MAX_CHARACTERS] or None
