"""An iterator that is closed while another thread is at its next item."""

import threading

import pytest

from flowkit.decode.closable import ClosableIterator


def test_closing_waits_for_the_item_that_is_being_read():
    reading, goes_on, events = threading.Event(), threading.Event(), []

    def read():
        yield 1
        reading.set()
        goes_on.wait()
        events.append("read")
        yield 2
        yield 3

    items = ClosableIterator(read(), lambda: events.append("closed"))
    found = []
    reader = threading.Thread(target=lambda: found.extend(items))
    reader.start()
    reading.wait()
    closer = threading.Thread(target=items.close)
    closer.start()
    closer.join(0.05)
    assert (events, closer.is_alive()) == ([], True)
    goes_on.set()
    closer.join()
    reader.join()
    assert events == ["read", "closed"]
    # The reader may take the lock again before the closer, and may then find nothing more.
    assert found in ([1, 2], [1, 2, 3])
    assert list(items) == []


def test_errors_pass_and_leave_it_closable():
    def fail():
        raise ValueError("broken")
        yield

    closed = []
    items = ClosableIterator(fail(), lambda: closed.append(True))
    with pytest.raises(ValueError, match="broken"):
        next(items)
    items.close()
    assert closed == [True]
