"""Samples with llama.cpp: all sequences in one batch, a prompt that several share computed once.

The loop is what llama.cpp's server does with parallel slots, without its HTTP.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TypeVar

import llama_cpp as llama
from channel import Channel, Message, Timer

SEQUENCES = 64
TOKENS_EACH = 128
BATCH = 2048
"""Tokens computed at once at most."""

Item = TypeVar("Item")


class Engine:
    """One context with room for all sequences."""

    def __init__(self, path: str) -> None:
        llama.llama_backend_init()
        self._model = llama.llama_model_load_from_file(
            path.encode(), llama.llama_model_default_params()
        )
        params = llama.llama_context_default_params()
        params.n_ctx = SEQUENCES * TOKENS_EACH
        params.n_seq_max = SEQUENCES
        params.n_batch = BATCH
        params.n_threads = params.n_threads_batch = os.cpu_count()
        self._context = llama.llama_init_from_model(self._model, params)
        self._batch = llama.llama_batch_init(BATCH, 0, 1)
        self._sampler = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        llama.llama_sampler_chain_add(self._sampler, llama.llama_sampler_init_dist(0))

    def sample(self, prompts: Sequence[Sequence[int]], new: int) -> int:
        """Sample `new` tokens after each prompt; returns how many there are in all."""
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)
        last = self._first_tokens(prompts)
        for at in range(new - 1):
            self._batch.n_tokens = 0
            for i, token in enumerate(last):
                self._add(token, len(prompts[i]) + at, i, logits=True)
            self._decode()
            last = [self._draw(i) for i in range(len(prompts))]
        return len(prompts) * new

    def _first_tokens(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """Compute each different prompt once, and draw for every sequence that begins with it."""
        sharing: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, prompt in enumerate(prompts):
            sharing[tuple(prompt)].append(i)
        tokens = [0] * len(prompts)
        for part in batched([*sharing.items()], BATCH // max(map(len, prompts))):
            self._batch.n_tokens = 0
            rows = []
            for prompt, sequences in part:
                for at, token in enumerate(prompt):
                    self._add(token, at, sequences[0], logits=at == len(prompt) - 1)
                rows.append((self._batch.n_tokens - 1, sequences))
            self._decode()
            for row, sequences in rows:
                for i in sequences:
                    tokens[i] = self._draw(row)
        memory = llama.llama_get_memory(self._context)
        for first, *others in sharing.values():
            for i in others:
                llama.llama_memory_seq_cp(memory, first, i, -1, -1)  # all of it
        return tokens

    def _add(self, token: int, position: int, sequence: int, *, logits: bool) -> None:
        batch, i = self._batch, self._batch.n_tokens
        batch.token[i], batch.pos[i], batch.logits[i] = token, position, logits
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = sequence
        batch.n_tokens += 1

    def _decode(self) -> None:
        if code := llama.llama_decode(self._context, self._batch):
            raise RuntimeError(f"llama_decode failed with {code}")

    def _draw(self, i: int) -> int:
        return llama.llama_sampler_sample(self._sampler, self._context, i)


def batched(items: list[Item], size: int) -> Iterator[list[Item]]:
    """Pieces of at most `size` items."""
    return (items[at : at + size] for at in range(0, len(items), size))


def main() -> None:
    """Load and serve."""
    channel = Channel()
    engine = Engine(channel.settings["gguf"])

    def work(request: Message) -> Message:
        with Timer() as timer:
            tokens = engine.sample(request["prompts"], request["new"])
        return {"seconds": timer.seconds, "tokens": tokens}

    channel.serve(work)


if __name__ == "__main__":
    main()
