"""Prefetch items from an iterator in a background thread, with a bounded queue."""

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """Iterate over ``items`` in a background thread.

    An exception of the producer is raised in the consumer, after the items that came before it.
    Leaving the ``with`` block ends the thread, even if items are left.

    Args:
        items: The items to prefetch.
        depth: Largest number of items in the queue.

    Attributes:
        working: Seconds that the producer has worked.
        waiting: Seconds that the consumer has waited for the producer.
    """

    _END = object()

    def __init__(self, items: Iterable[T], depth: int = 2) -> None:
        self.working = 0.0
        self.waiting = 0.0
        self._items = items
        self._queue: queue.Queue[object] = queue.Queue(maxsize=depth)
        self._closed = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._produce, name="decode-ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while True:
            start = time.perf_counter()
            item = self._queue.get()
            self.waiting += time.perf_counter() - start
            if item is self._END:
                break
            yield item  # type: ignore[misc]
        if self._error is not None:
            raise self._error

    def _produce(self) -> None:
        try:
            start = time.perf_counter()
            for item in self._items:
                self.working += time.perf_counter() - start
                if not self._put(item):
                    return
                start = time.perf_counter()
            self.working += time.perf_counter() - start
        except BaseException as error:  # noqa: BLE001 (raised again in the consumer)
            self._error = error
        self._put(self._END)

    def _put(self, item: object) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
