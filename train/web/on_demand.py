"""Compute answers in one worker thread: one at a time, kept for a while, cancelled if nobody waits.

A request waits for a job. Requests for the same job share it. If all of them went away (the reader
left the page), the job is taken from the queue, or stopped at the next step of its network.
"""

import asyncio
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from flowkit.errors import FlowkitError

logger = logging.getLogger(__name__)

MAX_JOBS = 32
"""Most jobs in the queue."""
MAX_KEPT_BYTES = 256 << 20
"""Most bytes of all kept results that say their size; the newest is kept even if it is larger."""
POLL_SECONDS = 0.1
"""How often a waiting request looks whether its client is still there."""


class CancelledError(Exception):
    """Nobody waits for the job any more."""


class Job:
    """One computation.

    Args:
        key: What it computes.
        function: Computes it; called in the worker thread.
    """

    def __init__(self, key: Hashable, function: Callable[[], Any]) -> None:
        self.key, self.function = key, function
        self.future: Future[Any] = Future()
        self.waiters = 0  # requests that wait for it
        self.cancelled = threading.Event()


class Worker:
    """Runs jobs in one thread, which starts with the first job.

    Args:
        kept: Number of results that are kept.
    """

    def __init__(self, kept: int = 24) -> None:
        self._kept = kept
        self._results: OrderedDict[Hashable, Any] = OrderedDict()
        self._queue: deque[Job] = deque()
        self._current: Job | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.computed = 0  # number of finished computations, for tests

    def check(self) -> None:
        """Raise if nobody waits for the job that is running; called by its steps.

        Raises:
            CancelledError: The job was cancelled.
        """
        job = self._current
        if job is not None and job.cancelled.is_set():
            raise CancelledError

    def join(self, key: Hashable, function: Callable[[], Any]) -> Job:
        """Start waiting for a job, which is added if there is none with this key.

        Raises:
            HTTPException: Too many jobs wait.
        """
        with self._changed:
            if key in self._results:
                self._results.move_to_end(key)
                job = Job(key, function)
                job.future.set_result(self._results[key])
                return job
            running = [self._current] if self._current else []
            for job in (*running, *self._queue):
                if job.key == key and not job.cancelled.is_set():
                    job.waiters += 1
                    return job
            if len(self._queue) >= MAX_JOBS or self._closed:
                raise HTTPException(503, "too many computations wait; try again in a moment")
            job = Job(key, function)
            job.waiters = 1
            self._queue.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="networks", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return job

    def leave(self, job: Job) -> None:
        """Stop waiting for a job; it is cancelled if nobody else waits for it."""
        with self._changed:
            job.waiters -= 1
            if job.waiters <= 0 and not job.future.done():
                job.cancelled.set()
                if job in self._queue:
                    self._queue.remove(job)

    def close(self) -> None:
        """Cancel all jobs, and end the thread."""
        with self._changed:
            self._closed = True
            for job in self._queue:
                job.cancelled.set()
            self._queue.clear()
            if self._current:
                self._current.cancelled.set()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=5)

    def _forget_old_results(self) -> None:
        """Drop the results that were not asked for the longest time, but never the newest."""
        sizes = [getattr(result, "nbytes", 0) for result in self._results.values()]
        total = sum(sizes)
        for size in sizes[:-1]:
            if len(self._results) <= self._kept and total <= MAX_KEPT_BYTES:
                return
            self._results.popitem(last=False)
            total -= size

    def _work(self) -> None:
        while True:
            with self._changed:
                self._current = None
                while not self._queue and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._current = self._queue.popleft()
            try:
                result = job.function()
            except BaseException as error:  # noqa: BLE001 — the request that waits raises it
                job.future.set_exception(error)
                continue
            with self._changed:
                self.computed += 1
                self._results[job.key] = result
                self._forget_old_results()
            job.future.set_result(result)


async def compute(
    worker: Worker, request: Request, key: Hashable, function: Callable[[], Any]
) -> Any:
    """Compute a result in the worker, for as long as the client of a request waits.

    Args:
        worker: The worker.
        request: The request.
        key: What is computed; results are kept by it.
        function: Computes it.

    Raises:
        HTTPException: The client went away, or too many computations wait.
        FlowkitError: What the function raised. Errors of PyTorch, which cannot be told from faults
            of this program, are logged with their traceback.
    """
    job = worker.join(key, function)
    try:
        result = asyncio.wrap_future(job.future)
        # Nobody reads the error of a job that nobody waits for; asyncio would log it.
        result.add_done_callback(lambda done: done.cancelled() or done.exception())
        while True:
            done, _ = await asyncio.wait([result], timeout=POLL_SECONDS)
            if done:
                break
            if await request.is_disconnected():
                raise HTTPException(499, "the client went away")
        try:
            return result.result()
        except CancelledError:
            raise HTTPException(499, "the computation was cancelled") from None
        except (ValueError, RuntimeError, KeyError) as error:
            logger.error("%s %s", request.method, request.url.path, exc_info=error)
            raise FlowkitError(
                f"the network cannot compute this ({type(error).__name__}: {error}); the terminal "
                "of flowkit view has the traceback"
            ) from error
    finally:
        worker.leave(job)
