"""Which requests run, and which of their tokens the next step computes.

A running request has pending tokens: its prompt at first, then the one token drawn last. Each step
takes all single pending tokens (decoding) and at most `prefill_tokens` of the longer runs, so that
a long prompt is computed in chunks beside the decoding of others.

A waiting request whose beginning another one is computing right now waits for it and then finds it
in the cache; so a group's samples, arriving together, have their prompt computed once.

If the cache is full, the request that was admitted last gives up its pages and waits again; what
it has sampled is kept and computed anew, like a prompt, by whatever weights there are then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from agentscope_tuner.inference.batch import Span
from agentscope_tuner.inference.pages import PAGE_TOKENS, Page, PagePool
from agentscope_tuner.inference.request import Request
from agentscope_tuner.sequences import common_prefix


class Scheduler:
    """Queues and cache pages of one model runner; used by its thread only.

    The pool must have room for one request of the model's greatest length.
    """

    def __init__(
        self,
        pool: PagePool,
        copy_page: Callable[[int, int], None],
        *,
        max_running: int,
        prefill_tokens: int,
    ) -> None:
        self.waiting: deque[Request] = deque()
        self.running: dict[Request, None] = {}
        """A set in the order of admission."""
        self.cached_tokens = 0
        """Prompt tokens that were found in the cache, over all requests so far."""
        self._pool = pool
        self._copy_page = copy_page
        self._max_running = max_running
        self._prefill_tokens = prefill_tokens

    def reset(self, pool: PagePool) -> None:
        """Forget all that is cached. No request may be running."""
        assert not self.running
        self._pool = pool

    def plan(self, *, admit: bool) -> list[tuple[Request, Span]]:
        """Choose the next step's work, single tokens first; admit waiting requests if allowed."""
        budget = self._prefill_tokens
        work: dict[Request, int] = {}
        for request in list(self.running):
            if request not in self.running:  # gave up its pages to an earlier one
                continue
            count = request.pending if request.pending == 1 else min(request.pending, budget)
            if count and self._reserve(request, count):
                work[request] = count
                budget -= count if request.pending > 1 else 0
        while admit and budget > 0 and len(self.running) < self._max_running:
            admitted = self._admit_next()
            if admitted is None:
                break
            count = min(admitted.pending, budget)
            if not self._reserve(admitted, count):
                break
            work[admitted] = count
            budget -= count
        plan = [(r, self._span(r, count)) for r, count in work.items() if r in self.running]
        return sorted(plan, key=lambda item: len(item[1].tokens) > 1)

    def computed(self, request: Request, count: int) -> None:
        """Note that a span's keys and values have been written."""
        end = request.computed + count
        while request.computed < end:
            page, place = divmod(request.computed, PAGE_TOKENS)
            stop = min(end, request.computed + PAGE_TOKENS - place)
            self._pool.extend(request.pages[page], request.tokens[request.computed : stop])
            request.computed = stop

    def remove(self, request: Request) -> None:
        """Forget a request; its pages stay as a cache."""
        if request in self.running:
            del self.running[request]
            self._pool.release(request.pages)
        else:
            self.waiting.remove(request)

    def _admit_next(self) -> Request | None:
        """Start the first waiting request whose beginning nobody is computing."""
        for request in self.waiting:
            match = self._pool.match(request.tokens)
            if self._worth_waiting(request, match.tokens):
                continue
            needed = -(-len(request.tokens) // PAGE_TOKENS) - len(match.pages)
            if self.running and self._pool.available < needed + len(self.running):
                return None  # those that run will want a page each before long
            self.waiting.remove(request)
            self.running[request] = None
            request.pages, request.computed = [], 0
            for page in match.pages:
                self._pool.acquire(page)
                request.pages.append(page)
            request.computed = len(match.pages) * PAGE_TOKENS
            if match.partial is not None:
                self._take_partial(request, match.partial, match.partial_tokens)
            if request.cached_tokens is None:
                request.cached_tokens = request.computed
                self.cached_tokens += request.computed
            return request
        return None

    def _worth_waiting(self, request: Request, cached: int) -> bool:
        wanted = len(request.tokens) - 1
        for other in self.running:
            if other.pending > 1:
                shared = min(common_prefix(request.tokens, other.tokens), wanted)
                if shared >= cached + PAGE_TOKENS or shared == wanted > cached:
                    return True
        return False

    def _take_partial(self, request: Request, page: Page, count: int) -> None:
        """Go on in a page that is idle and matches wholly; else copy what matches."""
        self._pool.acquire(page)
        if page.users == 1 and len(page.tokens) == count:
            request.pages.append(page)
            request.computed += count
            return
        copy = self._pool.allocate(request.pages[-1] if request.pages else None)
        if copy is not None:
            self._copy_page(page.index, copy.index)
            self._pool.extend(copy, page.tokens[:count])
            request.pages.append(copy)
            request.computed += count
        self._pool.release([page])

    def _reserve(self, request: Request, count: int) -> bool:
        """Give a request pages for its next tokens; False if it lost its own instead."""
        needed = -(-(request.computed + count) // PAGE_TOKENS)
        while len(request.pages) < needed:
            page = self._pool.allocate(request.pages[-1] if request.pages else None)
            if page is not None:
                request.pages.append(page)
                continue
            last = next(reversed(self.running))
            self.remove(last)
            last.pages, last.computed = [], 0
            self.waiting.appendleft(last)
            if last is request:
                return False
        return True

    @staticmethod
    def _span(request: Request, count: int) -> Span:
        end = request.computed + count
        return Span(
            tokens=request.tokens[request.computed : end],
            start=request.computed,
            pages=[page.index for page in request.pages],
            wants_logits=end == len(request.tokens),
        )
