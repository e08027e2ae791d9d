"""The token trees of several rollouts joined into one, so that what they share is stored once.

Prompt tokens that are equal from the root on become one node (split where they part ways), whether
they come from two rollouts of a group or from two branches of one rollout. A sampled segment always
stays a node of its own: its tokens carry a loss, and each draw counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agentscope_tuner.algorithms.spans import Span
from agentscope_tuner.sequences import common_prefix
from agentscope_tuner.trajectory import Rollout


@dataclass(slots=True, eq=False)
class Node:
    """A run of tokens that follows its parent's last one."""

    token_ids: Sequence[int]
    parent: Node | None = None
    span: Span | None = None
    """A sampled segment's trained tokens in the batch; None: prompt tokens."""
    children: list[Node] = field(default_factory=list)


class TokenTree:
    """A root without tokens and everything that was added below it."""

    def __init__(self) -> None:
        self.root = Node(())
        self.size = 0
        """Tokens stored."""

    def add(self, number: int, rollout: Rollout, spans: Mapping[tuple[int, int], Span]) -> None:
        """Add all segments of a rollout, which `spans` knows by its number and the segment's."""
        ends: list[Node] = []
        for index, segment in enumerate(rollout.trajectory.segments):
            parent = self.root if segment.parent is None else ends[segment.parent]
            if segment.sampled is None:
                ends.append(self._extend(parent, segment.token_ids))
            else:
                node = Node(segment.token_ids, parent, spans[number, index])
                ends.append(self.append(node))

    def append(self, node: Node) -> Node:
        """Add a node below its parent, which is in the tree; returns it."""
        assert node.parent is not None
        node.parent.children.append(node)
        self.size += len(node.token_ids)
        return node

    def preorder(self) -> Iterator[Node]:
        """Every node after its parent, each subtree in one piece."""
        stack = list(reversed(self.root.children))
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def _extend(self, parent: Node, token_ids: Sequence[int]) -> Node:
        """Follow equal prompt tokens as far as they are there, then add the rest."""
        while token_ids:
            for child in parent.children:
                shared = 0 if child.span else common_prefix(child.token_ids, token_ids)
                if shared:
                    break
            else:
                return self.append(Node(token_ids, parent))
            parent = child if shared == len(child.token_ids) else _split(child, shared)
            token_ids = token_ids[shared:]
        return parent


def _split(node: Node, at: int) -> Node:
    """Put the node's first tokens into a new parent; `node` itself stays the end of its segment."""
    assert node.parent is not None
    upper = Node(node.token_ids[:at], node.parent, children=[node])
    siblings = node.parent.children
    siblings[siblings.index(node)] = upper
    node.token_ids, node.parent = node.token_ids[at:], upper
    return upper
