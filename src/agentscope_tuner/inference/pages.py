"""The key-value cache's book-keeping: which page holds which tokens, and who may reuse it.

The cache is cut into pages of `PAGE_TOKENS` tokens. Pages form a trie: a page hangs below the page
that holds the tokens before its own, so that a path from the root spells a token sequence. A page
is in the trie from the moment that its first token is computed until it is evicted; whoever asks
for a sequence is given the longest path that spells its beginning. Whole pages are shared. A page
of which only the first tokens match is copied, or continued in place if nobody uses it.

Pages that no request uses stay as a cache and are evicted, least recently used first and leaves
before their parents, when a new page is needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from agentscope_tuner.sequences import common_prefix

PAGE_TOKENS = 16
"""Tokens a page. One page of keys is then one AVX-512 register wide in the attention kernel."""


@dataclass(slots=True, eq=False)
class Page:
    """A place for `PAGE_TOKENS` tokens; a page that is not full is written by one request only."""

    index: int
    parent: Page | None
    tokens: list[int] = field(default_factory=list)
    """The tokens whose keys and values are in the page already."""
    children: dict[int, list[Page]] = field(default_factory=dict)
    """By first token."""
    users: int = 0
    """How many running requests read it."""


@dataclass(slots=True)
class Match:
    """The longest cached beginning of a sequence."""

    pages: list[Page]
    """Full pages to share."""
    partial: Page | None
    """A page whose first `partial_tokens` tokens match too."""
    partial_tokens: int

    @property
    def tokens(self) -> int:
        """How many tokens are cached."""
        return len(self.pages) * PAGE_TOKENS + self.partial_tokens


class PagePool:
    """All pages of one cache. Knows nothing of tensors: `Page.index` is a row of theirs."""

    def __init__(self, capacity: int) -> None:
        self.available = capacity
        """Pages that no request uses."""
        self._root = Page(index=-1, parent=None)
        self._free = list(range(capacity - 1, -1, -1))
        self._idle_leaves: OrderedDict[Page, None] = OrderedDict()

    def match(self, tokens: Sequence[int]) -> Match:
        """Find the longest cached beginning of `tokens`, its last token excepted.

        The last token is left over because it must be computed in any case, for its logits.
        """
        tokens = tokens[:-1]
        page, pages = self._root, list[Page]()
        best: Page | None = None
        best_tokens = 0
        while (start := len(pages) * PAGE_TOKENS) < len(tokens):
            wanted = tokens[start : start + PAGE_TOKENS]
            best, best_tokens = None, 0
            for child in page.children.get(wanted[0], ()):
                if (common := common_prefix(child.tokens, wanted)) > best_tokens:
                    best, best_tokens = child, common
            if best is None or best_tokens < PAGE_TOKENS:
                break
            pages.append(page := best)
            best, best_tokens = None, 0
        return Match(pages, best, best_tokens)

    def acquire(self, page: Page) -> None:
        """Count one more user of a page in the trie."""
        self.available -= page.users == 0
        page.users += 1
        self._idle_leaves.pop(page, None)

    def allocate(self, parent: Page | None) -> Page | None:
        """A fresh page with one user, or None if every page is in use."""
        if not self._free and not self._evict():
            return None
        self.available -= 1
        return Page(self._free.pop(), parent or self._root, users=1)

    def extend(self, page: Page, tokens: Sequence[int]) -> None:
        """Note that the keys and values of `tokens` have been written behind those in the page."""
        if not page.tokens:
            assert page.parent is not None
            page.parent.children.setdefault(tokens[0], []).append(page)
        page.tokens.extend(tokens)

    def release(self, pages: Sequence[Page]) -> None:
        """End one use of each page of a path from the root."""
        for page in reversed(pages):
            page.users -= 1
            if page.users == 0:
                self.available += 1
                if not page.tokens:
                    self._free.append(page.index)
                elif not page.children:
                    self._idle_leaves[page] = None

    def _evict(self) -> bool:
        if not self._idle_leaves:
            return False
        page, _ = self._idle_leaves.popitem(last=False)
        parent = page.parent
        assert parent is not None
        siblings = parent.children[page.tokens[0]]
        siblings.remove(page)
        if not siblings:
            del parent.children[page.tokens[0]]
        if parent is not self._root and not parent.children and parent.users == 0:
            self._idle_leaves[parent] = None
            self._idle_leaves.move_to_end(parent, last=False)
        self._free.append(page.index)
        return True
