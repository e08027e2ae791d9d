"""The token trees of several rollouts joined into one, so that what they share is stored once.

Prompt tokens that are equal from the root on become one node (split where they part ways), whether
they come from two rollouts of a group or from two branches of one rollout. A sampled segment always
stays a node of its own: its tokens carry a loss, and each draw counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from agentscope_tuner.sequences import common_prefix
from agentscope_tuner.trajectory import Rollout, Sampled


@dataclass(slots=True, eq=False)
class Node:
    """A run of tokens that follows its parent's last one."""

    token_ids: Sequence[int]
    parent: Node | None = None
    sampled: Sampled | None = None
    """None: prompt tokens."""
    rollout: int = -1
    """The caller's number of the rollout that sampled it."""
    segment: int = -1
    advantage: float = 0.0
    children: list[Node] = field(default_factory=list)

    def trained(self) -> list[int]:
        """Indices of the tokens that carry a loss: something else could have been drawn."""
        return [] if self.sampled is None else trained_indices(self.sampled)


class TokenTree:
    """A root without tokens and everything that was added below it."""

    def __init__(self) -> None:
        self.root = Node(())
        self.size = 0
        """Tokens stored."""

    def add(self, rollout: Rollout, number: int) -> None:
        """Add all segments of a rollout that has an advantage; the caller knows it by `number`."""
        assert rollout.advantage is not None
        ends: list[Node] = []
        for index, segment in enumerate(rollout.trajectory.segments):
            parent = self.root if segment.parent is None else ends[segment.parent]
            if segment.sampled is None:
                ends.append(self._extend(parent, segment.token_ids))
                continue
            sampled = Node(
                segment.token_ids, parent, segment.sampled, number, index, rollout.advantage
            )
            ends.append(self._append(sampled, parent))

    def preorder(self) -> Iterator[Node]:
        """Every node after its parent, each subtree in one piece."""
        stack = list(reversed(self.root.children))
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def _append(self, node: Node, parent: Node) -> Node:
        parent.children.append(node)
        self.size += len(node.token_ids)
        return node

    def _extend(self, parent: Node, token_ids: Sequence[int]) -> Node:
        """Follow equal prompt tokens as far as they are there, then add the rest."""
        while token_ids:
            for child in parent.children:
                shared = 0 if child.sampled else common_prefix(child.token_ids, token_ids)
                if shared:
                    break
            else:
                return self._append(Node(token_ids, parent), parent)
            parent = child if shared == len(child.token_ids) else _split(child, shared)
            token_ids = token_ids[shared:]
        return parent


def trained_indices(sampled: Sampled) -> list[int]:
    """Tokens of a sampled segment that carry a loss: not forced, and drawn rather than taken."""
    if sampled.temperature == 0:
        return []
    return [i for i, forced in enumerate(sampled.forced) if not forced]


def _split(node: Node, at: int) -> Node:
    """Put the node's first tokens into a new parent; `node` itself stays the end of its segment."""
    assert node.parent is not None
    upper = Node(node.token_ids[:at], node.parent, children=[node])
    siblings = node.parent.children
    siblings[siblings.index(node)] = upper
    node.token_ids, node.parent = node.token_ids[at:], upper
    return upper
