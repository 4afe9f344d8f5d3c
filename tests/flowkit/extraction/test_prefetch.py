"""The thread that runs ahead: order, errors, and an end that leaves nothing behind."""

import threading

import pytest

from flowkit.extraction.prefetch import Prefetcher


def test_items_come_in_order():
    with Prefetcher(iter(range(100))) as items:
        assert list(items) == list(range(100))


def test_an_error_comes_after_the_items_before_it():
    def produce():
        yield 1
        yield 2
        raise ValueError("broken here")

    seen = []
    with Prefetcher(produce()) as items, pytest.raises(ValueError, match="broken here"):
        seen.extend(items)
    assert seen == [1, 2]


def test_leaving_early_ends_the_thread():
    before = threading.active_count()
    with Prefetcher(iter(range(1000)), depth=2) as items:
        for _ in items:
            break
    assert threading.active_count() == before


def test_it_runs_ahead_by_no_more_than_its_depth():
    produced = []

    def produce():
        for i in range(50):
            produced.append(i)
            yield i

    with Prefetcher(produce(), depth=3) as items:
        for i in items:
            # in the queue: 3; one more in hand, one more waiting to be put
            assert len(produced) <= i + 1 + 3 + 1
