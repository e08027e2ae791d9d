"""Drawn rollouts as padded rows [B, T], which the peers' functions read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

OBSERVED = 3
"""Tokens that an agent reads between two calls, where calls are merged into one row."""
OBSERVED_NUMBER = 0.9
"""What stands at such tokens: a peer that looks there differs from one that does not."""


@dataclass
class Row:
    """One model call, or a whole conversation."""

    group: int
    rollout: int
    call: int
    reward: float
    dense: bool
    """Whether each call has a reward of its own."""
    expert: bool
    state: str
    step_reward: float
    numbers: dict[str, list[float]]
    """One a token, by name."""
    trained: list[bool] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.trained)


class Rows:
    """All rows of a draw, in its order."""

    def __init__(self, draw: list[list[dict[str, Any]]], *, merged: bool = False) -> None:
        """`merged`: the calls of a rollout are one row, with observations between them."""
        self.rows: list[Row] = []
        for g, group in enumerate(draw):
            for n, rollout in enumerate(group):
                made = [row(g, n, c, rollout, call) for c, call in enumerate(rollout["calls"])]
                self.rows += [merge(made)] if merged else made
        self.width = max(map(len, self.rows))

    @property
    def shape(self) -> tuple[int, int]:
        """B and T."""
        return len(self.rows), self.width

    @property
    def mask(self) -> Tensor:
        """True at trained tokens [B, T]."""
        return self._pad([row.trained for row in self.rows]).bool()

    def padded(self, name: str) -> Tensor:
        """A number of each token [B, T]."""
        return self._pad([row.numbers[name] for row in self.rows])

    def token_rewards(self) -> Tensor:
        """Each row's reward at its last token [B, T]."""
        rewards_BT = torch.zeros(self.shape)
        for at, row in enumerate(self.rows):
            rewards_BT[at, len(row) - 1] = row.reward
        return rewards_BT

    def flat(self, values_BT: Tensor) -> list[float]:
        """Numbers of the trained tokens in the draw's order."""
        return values_BT.detach()[self.mask].tolist()

    def split(self, parts: int) -> list[Rows]:
        """Equally many rows each, padded as the whole is."""
        size = len(self.rows) // parts
        pieces = []
        for start in range(0, len(self.rows), size):
            piece = object.__new__(Rows)
            piece.rows, piece.width = self.rows[start : start + size], self.width
            pieces.append(piece)
        return pieces

    def _pad(self, rows: list[list[float]] | list[list[bool]]) -> Tensor:
        padded_BT = torch.zeros(self.shape)
        for at, values in enumerate(rows):
            padded_BT[at, : len(values)] = torch.tensor(values, dtype=torch.float32)
        return padded_BT


def row(group: int, rollout: int, number: int, drawn: dict[str, Any], call: dict[str, Any]) -> Row:
    """One call as a row."""
    numbers = {name: list(values) for name, values in call.items() if isinstance(values, list)}
    return Row(
        group=group,
        rollout=rollout,
        call=number,
        reward=drawn["reward"] or 0.0,
        dense=drawn["dense"],
        expert=drawn["expert"],
        state=call["state"],
        step_reward=call["step_reward"],
        numbers=numbers,
        trained=[True] * len(numbers["logprob"]),
    )


def merge(calls: list[Row]) -> Row:
    """A conversation as one row."""
    whole = calls[0]
    for call in calls[1:]:
        for name, values in whole.numbers.items():
            values += [OBSERVED_NUMBER] * OBSERVED + call.numbers[name]
        whole.trained += [False] * OBSERVED + call.trained
    return whole
