"""One computation at a time; results are kept; what nobody waits for is cancelled."""

import threading
import time
from http.client import HTTPConnection
from types import SimpleNamespace

import pytest
from starlette.exceptions import HTTPException

from flowkit.web.keys import make_key
from train.web.on_demand import MAX_JOBS, CancelledError, Worker


@pytest.fixture
def worker():
    worker = Worker(kept=2)
    yield worker
    worker.close()


def wait(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_results_are_kept_and_the_oldest_is_dropped(worker):
    calls = []

    def compute(key):
        return worker.join(key, lambda: calls.append(key) or key).future.result(20)

    assert [compute(key) for key in "aabab"] == list("aabab")
    assert calls == ["a", "b"]
    compute("c")  # drops a, which was used before b
    assert [compute(key) for key in "ba"] == ["b", "a"]
    assert calls == ["a", "b", "c", "a"]


def test_large_results_are_dropped_earlier_but_never_the_newest(worker, monkeypatch):
    monkeypatch.setattr("train.web.on_demand.MAX_KEPT_BYTES", 100)
    for key, size in (("a", 60), ("b", 60), ("c", 30), ("d", 500)):
        worker.join(key, lambda size=size: SimpleNamespace(nbytes=size)).future.result(5)
        if key == "c":
            assert worker.join("b", dict).future.done()  # 60 and 30 bytes are kept, and two results
            assert not worker.join("a", dict).future.result(5)
    assert worker.join("d", dict).future.done()
    assert worker.join("c", dict).future.result(5) == {}


def test_one_job_runs_at_a_time_and_equal_ones_are_shared(worker):
    gate, running, most = threading.Event(), [0], [0]

    def work():
        running[0] += 1
        most[0] = max(most[0], running[0])
        assert gate.wait(20)
        running[0] -= 1
        return "done"

    jobs = [worker.join(key, work) for key in ("a", "a", "b", "b", "a")]
    assert len(set(map(id, jobs))) == 2
    gate.set()
    assert [job.future.result(20) for job in jobs] == ["done"] * 5
    assert most[0] == 1 and worker.computed == 2


def test_a_job_that_nobody_waits_for_is_cancelled(worker):
    started, steps = threading.Event(), [0]

    def work():
        started.set()
        for _ in range(10_000):
            worker.check()
            steps[0] += 1
            time.sleep(0.002)
        return

    first, second = worker.join("a", work), worker.join("a", work)
    queued = worker.join("b", lambda: "never")
    assert started.wait(20)
    worker.leave(first)
    worker.leave(queued)
    before = steps[0]
    wait(lambda: steps[0] > before)  # the second still waits
    worker.leave(second)
    with pytest.raises(CancelledError):
        first.future.result(20)
    assert worker.join("c", lambda: "next").future.result(20) == "next"
    assert not queued.future.done() and worker.computed == 1
    again = worker.join("a", lambda: "again")  # a cancelled job is not joined
    assert again.future.result(20) == "again"


def test_an_error_is_raised_where_it_is_awaited_and_not_kept(worker):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        worker.join("a", fail).future.result(20)
    assert worker.join("a", lambda: "yes").future.result(20) == "yes"


def test_too_many_jobs_are_refused(worker):
    gate = threading.Event()
    worker.join("first", lambda: gate.wait(20))
    wait(lambda: not worker._queue)
    for number in range(MAX_JOBS):
        worker.join(number, lambda: None)
    with pytest.raises(HTTPException, match="too many"):
        worker.join("last", lambda: None)
    gate.set()


def test_a_closed_worker_cancels_what_runs():
    worker, started = Worker(), threading.Event()

    def work():
        started.set()
        while True:
            worker.check()
            time.sleep(0.002)

    job = worker.join("a", work)
    assert started.wait(20)
    worker.close()
    with pytest.raises(CancelledError):
        job.future.result(1)


def test_a_client_that_goes_away_cancels_its_computation(run, store, open_page, monkeypatch):
    started, cancelled = threading.Event(), threading.Event()

    def compute_slowly(self, *_):
        started.set()
        try:
            while True:
                self._check()
                time.sleep(0.005)
        except CancelledError:
            cancelled.set()
            raise

    monkeypatch.setattr("train.web.attention_maps.ImageAttention.compute_snippet", compute_slowly)
    page = open_page(run)
    key = make_key(store.index.id(int(store.subset("test")[0])))
    connection = HTTPConnection("127.0.0.1", page.port)
    connection.request("GET", f"/api/runs/run/attention/{key}/blocks")
    assert started.wait(20) and not cancelled.is_set()
    connection.close()
    assert cancelled.wait(20)


def test_a_fault_of_a_computation_is_logged(run, store, open_page, monkeypatch, caplog):
    def fail(self, *_):
        raise KeyError("x")

    monkeypatch.setattr("train.web.attention_maps.ImageAttention.compute_snippet", fail)
    path = (
        f"/api/runs/run/attention/{make_key(store.index.id(int(store.subset('test')[0])))}/blocks"
    )
    answer = open_page(run).get(path)
    assert answer.status_code == 409
    assert "cannot compute this (KeyError: 'x'); the terminal" in answer.json()["error"]
    (record,) = (record for record in caplog.records if record.name == "train.web.on_demand")
    assert path in record.getMessage() and record.exc_info[0] is KeyError
