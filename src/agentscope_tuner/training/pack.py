"""One row of tokens that a model computes at once.

A pack holds token trees in preorder: every token after its ancestors, each subtree in one piece.
Two numbers a token then say everything about the tree: its depth (which is its position in the
text) and where its subtree ends. Token k is an ancestor of token q, or q itself, exactly if
k <= q < subtree_end[k].

Shapes: T tokens of a pack, N of them trained. A token's log-probability comes from the hidden state
at its predecessor in the tree, which is not always the token before it in the row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentscope_tuner.inference.base import Support
from agentscope_tuner.penalties import LogitChange

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(slots=True)
class Pack:
    """One row of T tokens, and N trained ones that are predicted from it."""

    token_ids_T: Ints
    position_ids_T: Ints
    """Depth in the tree: the token's position on its own branch."""
    subtree_end_T: Ints
    """Index after the last descendant."""
    predecessors_N: Ints
    """Index in the row of the token before each trained one on its branch."""
    targets_N: Ints
    """The trained tokens' ids."""
    rows_N: Ints
    """Where the trained tokens are in the columns of their batch."""
    temperatures_N: Floats
    supports: dict[int, Support]
    """Index in N -> the tokens that could have been drawn; absent: the whole vocabulary."""
    changes: dict[int, LogitChange]
    """Index in N -> what penalties did to the logits; absent: nothing."""
