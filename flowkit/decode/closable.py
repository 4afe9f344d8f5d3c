"""Iterate over what another thread may close."""

from collections.abc import Callable, Iterator
from threading import Lock
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class ClosableIterator(Generic[T]):
    """An iterator that ends when it is closed, also from another thread.

    FFmpeg must not read from a file that is being closed. A second Ctrl-C closes the file in the
    main thread at any moment, while the thread that reads ahead may be decoding.

    Args:
        items: The items.
        close: Closes what they are read from; not called while the next item is being read.
    """

    def __init__(self, items: Iterator[T], close: Callable[[], None]) -> None:
        self._items, self._close = items, close
        self._lock, self._is_closed = Lock(), False

    def __iter__(self) -> Self:
        """Return the iterator itself."""
        return self

    def __next__(self) -> T:
        """Return the next item; StopIteration if there is none, or after `close`."""
        with self._lock:
            if self._is_closed:
                raise StopIteration
            return next(self._items)

    def close(self) -> None:
        """End the iteration, after the item that is being read."""
        with self._lock:
            self._is_closed = True
            self._close()
