"""Execute the tasks of a run in this process, without Ray (``--workers 0``).

On CPUs, one worker extracts one video after another. On a GPU there is one lane for each core of
the process, as in a Ray actor (actor.py). A lane is a thread with a worker; the lanes share the
GPU, the queue of tasks and one `GpuTimer`. Outcomes are counted in the calling thread.

Unlike with Ray, bad videos are not isolated: a video that crashes the decoder ends this process,
and a video that hangs blocks it.
"""

import os
import queue
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from flowkit.extraction.callbacks import RunCallbacks
from flowkit.extraction.gpu_timer import GpuTimer
from flowkit.extraction.tasks import WorkerTask
from flowkit.extraction.worker_setup import WorkerFactory

PROGRESS_SECONDS = 5.0
"""Seconds between reports of the progress inside videos."""
FINISH_SECONDS = 10.0
"""Seconds that each lane has to commit after a second Ctrl-C, or an error of a callback."""


def run_in_process(
    tasks: Sequence[WorkerTask],
    setup: WorkerFactory,
    callbacks: RunCallbacks,
    lanes: int | None = None,
) -> None:
    """Execute the tasks, and commit all complete videos even if the run ends early.

    Args:
        tasks: The tasks, in the order in which they are started.
        setup: The settings from which the workers are made.
        callbacks: What is called while the tasks are executed.
        lanes: Number of videos at once. None: one on CPUs, one for each core on a GPU.
    """
    lanes = lanes or choose_lanes(setup, len(tasks))
    setup = replace(setup, lanes=lanes)
    if lanes == 1:
        run_in_turn(tasks, setup, callbacks)
    else:
        Lanes(tasks, setup, callbacks).run()


def choose_lanes(setup: WorkerFactory, tasks: int) -> int:
    """Return as many lanes as a Ray actor with one GPU and all cores of this machine has."""
    cores = len(os.sched_getaffinity(0))
    machine = {"Alive": True, "Resources": {"CPU": cores, "GPU": 1}}
    pool_size = setup.choose_size([machine], None, tasks)
    return pool_size.lanes if pool_size.gpus else 1


def run_in_turn(tasks: Sequence[WorkerTask], setup: WorkerFactory, callbacks: RunCallbacks) -> None:
    """Execute one task after another in the calling thread."""
    worker = setup.make_worker()
    callbacks.interrupt.on_request = worker.stop
    callbacks.on_start(0, setup.backend)
    current: dict[Any, str] = {}
    try:
        with watch_progress(current, callbacks):
            for task in tasks:
                if callbacks.interrupt.is_requested:
                    break
                current[worker] = task.id
                outcome = worker.extract(task)
                current.clear()
                callbacks.on_outcome(outcome)
    finally:
        worker.close()


@contextmanager
def watch_progress(current: Mapping[Any, str], callbacks: RunCallbacks) -> Iterator[None]:
    """Report the progress of workers from a thread of its own while the context is open.

    Args:
        current: The id of the video that each worker is busy with; it may change meanwhile.
        callbacks: Their ``on_progress`` is called.
    """
    done = threading.Event()

    def report() -> None:
        while not done.wait(PROGRESS_SECONDS):
            for worker, id in dict(current).items():
                callbacks.on_progress(id, worker.share)

    thread = threading.Thread(target=report, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class Lanes:
    """Threads with one worker each, which fetch tasks from one queue until it is empty.

    Each lane sends outcomes and errors to the calling thread, and None when it has closed its
    shards.

    Args:
        tasks: The tasks, in the order in which they are started.
        setup: The settings from which the workers are made, with the number of lanes.
        callbacks: What is called, in the calling thread.
    """

    def __init__(
        self, tasks: Sequence[WorkerTask], setup: WorkerFactory, callbacks: RunCallbacks
    ) -> None:
        self._tasks = deque(tasks)
        self._setup, self._callbacks = setup, callbacks
        self._gpu_timer = GpuTimer(setup.gpu_stages)
        self._workers = [setup.make_worker(None, self._gpu_timer) for _ in range(setup.lanes)]
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._current: dict[Any, str] = {}
        self._stopping = threading.Event()

    def run(self) -> None:
        """Start the lanes and count their outcomes until all have ended.

        Raises:
            BaseException: The first error of a lane, raised after all lanes have ended.
        """
        self._workers[0].warm_up()  # once, rather than in all lanes at the same time
        self._gpu_timer.pop_times()  # the GPU was not idle while the kernels were loaded
        self._callbacks.interrupt.on_request = self.stop
        self._callbacks.on_start(len(self._workers), self._setup.backend)
        threads = [
            threading.Thread(target=self._run_lane, args=(worker,), name=f"lane-{n}", daemon=True)
            for n, worker in enumerate(self._workers)
        ]
        for thread in threads:
            thread.start()
        error: BaseException | None = None
        running = len(threads)
        try:
            with watch_progress(self._current, self._callbacks):
                while running:
                    message = self._messages.get()
                    if message is None:
                        running -= 1
                    elif isinstance(message, BaseException):
                        error = error or message
                        self.stop()
                    else:
                        self._callbacks.on_outcome(message)
        finally:
            self.stop()
            for thread in threads:
                thread.join(FINISH_SECONDS)
        if error is not None:
            raise error

    def stop(self) -> None:
        """Ask all lanes to end, even in the middle of a video."""
        self._stopping.set()
        for worker in self._workers:
            worker.stop()

    def _run_lane(self, worker: Any) -> None:
        try:
            while not (self._stopping.is_set() or self._callbacks.interrupt.is_requested):
                try:
                    task = self._tasks.popleft()
                except IndexError:
                    break
                self._current[worker] = task.id
                self._messages.put(worker.extract(task))
                del self._current[worker]
        except BaseException as error:  # noqa: BLE001 (raised again in the calling thread)
            self._messages.put(error)
        try:
            worker.close()
        except BaseException as error:  # noqa: BLE001 (raised again in the calling thread)
            self._messages.put(error)
        self._messages.put(None)
