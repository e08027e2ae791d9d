"""A cache that knows how much memory it holds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Generic, TypeVar

T = TypeVar("T")


class ByteCache(Generic[T]):
    """The values used last, up to a number of bytes; safe to use from several threads.

    Args:
        max_bytes: of all values together.
        size: of one value, in bytes.
    """

    def __init__(self, max_bytes: int, size: Callable[[T], int]) -> None:
        self._max_bytes = max_bytes
        self._size = size
        self._values: OrderedDict[bytes, T] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """What all values take."""
        return self._bytes

    def get(self, key: str) -> T | None:
        """The value of a key, if it is still there."""
        with self._lock:
            value = self._values.get(_digest(key))
            if value is not None:
                self._values.move_to_end(_digest(key))
            return value

    def put(self, key: str, value: T) -> None:
        """Keep a value, in place of those that were not used for longest."""
        with self._lock:
            if _digest(key) in self._values:
                return
            self._values[_digest(key)] = value
            self._bytes += self._size(value)
            while self._bytes > self._max_bytes:
                self._bytes -= self._size(self._values.popitem(last=False)[1])


def _digest(key: str) -> bytes:
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
