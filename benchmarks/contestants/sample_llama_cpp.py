"""Samples with llama.cpp: a slot for each rollout, which keeps its cache from turn to turn.

The loop is what llama.cpp's server does with parallel slots, without its HTTP; a beginning that
several prompts share is computed once and copied, which the server would compute in each slot.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import llama_cpp as llama
from channel import Channel, Message, Timer

BATCH = 2048
"""Tokens computed at once at most."""
WORTH_SHARING = 16
"""Tokens of a common beginning from which on it is copied."""


@dataclass
class Slot:
    """One conversation."""

    index: int
    turns: Iterator[list[int]]
    pending: list[int] = field(default_factory=list)
    """Tokens to compute next."""
    position: int = 0
    """Tokens computed."""
    left: int = 0
    """Tokens to sample in this turn."""

    def next_turn(self, new: int) -> None:
        """Read the next observation, if there is one, behind what was sampled last."""
        observation = next(self.turns, None)
        if observation is None:
            self.pending = []
        else:
            self.pending += observation
            self.left = new


class Engine:
    """One context with room for all slots."""

    def __init__(self, path: str, slots: int, length: int) -> None:
        llama.llama_backend_init()
        self._model = llama.llama_model_load_from_file(
            path.encode(), llama.llama_model_default_params()
        )
        params = llama.llama_context_default_params()
        params.n_ctx = slots * length
        params.n_seq_max = slots
        params.n_batch = BATCH
        params.n_threads = params.n_threads_batch = os.cpu_count()
        self._context = llama.llama_init_from_model(self._model, params)
        self._batch = llama.llama_batch_init(BATCH, 0, 1)
        self._sampler = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        llama.llama_sampler_chain_add(self._sampler, llama.llama_sampler_init_dist(0))

    def sample(self, conversations: Sequence[list[list[int]]], new: int) -> int:
        """Sample `new` tokens in every turn; returns how many there are in all."""
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)
        slots = [Slot(i, iter(turns)) for i, turns in enumerate(conversations)]
        for slot in slots:
            slot.next_turn(new)
        self._share(slots)
        sampled = 0
        while any(slot.pending for slot in slots):
            for slot, row in self._decode(slots):
                token = llama.llama_sampler_sample(self._sampler, self._context, row)
                sampled += 1
                slot.left -= 1
                slot.pending = [token]
                if not slot.left:
                    slot.next_turn(new)
        return sampled

    def _share(self, slots: Sequence[Slot]) -> None:
        """Compute what neighbouring slots begin with in the first of them, and copy it."""
        groups: list[tuple[int, list[Slot]]] = []
        for slot in slots:
            if groups:
                length, members = groups[-1]
                common = min(length, common_prefix(members[0].pending, slot.pending))
                if common >= WORTH_SHARING:
                    groups[-1] = common, [*members, slot]
                    continue
            groups.append((len(slot.pending) - 1, [slot]))
        groups = [group for group in groups if len(group[1]) > 1]
        rests = [[slot.pending[length:] for slot in members] for length, members in groups]
        owners = [members[0] for _, members in groups]
        for owner, (length, _) in zip(owners, groups, strict=True):
            del owner.pending[length:]
        while any(owner.pending for owner in owners):
            self._decode(owners)
        memory = llama.llama_get_memory(self._context)
        for (length, members), pending in zip(groups, rests, strict=True):
            for slot, rest in zip(members, pending, strict=True):
                slot.pending, slot.position = rest, length
                if slot is not members[0]:
                    llama.llama_memory_seq_cp(memory, members[0].index, slot.index, -1, -1)

    def _decode(self, slots: Sequence[Slot]) -> list[tuple[Slot, int]]:
        """Compute what fits in one batch, single tokens first.

        Returns the slots whose pending tokens are all computed, with their rows of logits.
        """
        batch = self._batch
        batch.n_tokens = 0
        ready = []
        for slot in sorted(slots, key=lambda slot: len(slot.pending)):
            taken = slot.pending[: BATCH - batch.n_tokens]
            del slot.pending[: len(taken)]
            for token in taken:
                self._add(token, slot)
            if taken and not slot.pending:
                batch.logits[batch.n_tokens - 1] = True
                ready.append((slot, batch.n_tokens - 1))
        if code := llama.llama_decode(self._context, batch):
            raise RuntimeError(f"llama_decode failed with {code}")
        return ready

    def _add(self, token: int, slot: Slot) -> None:
        batch, i = self._batch, self._batch.n_tokens
        batch.token[i], batch.pos[i], batch.logits[i] = token, slot.position, False
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = slot.index
        batch.n_tokens += 1
        slot.position += 1


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many first items two sequences share."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))


def main() -> None:
    """Load and serve."""
    channel = Channel()
    settings = channel.settings
    engine = Engine(settings["gguf"], settings["slots"], settings["max_length"])

    def work(request: Message) -> Message:
        with Timer() as timer:
            tokens = engine.sample(request["conversations"], request["new"])
        return {"seconds": timer.seconds, "tokens": tokens}

    channel.serve(work)


if __name__ == "__main__":
    main()
