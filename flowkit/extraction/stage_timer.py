"""Measure the time that a video spends in each stage of its extraction."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from flowkit.extraction.gpu_timer import GpuTimer
from flowkit.extraction.tasks import Seconds


class StageTimer:
    """Adds the time of stages to the seconds of one video, and reports them to the GPU's timer.

    Threads of one video may use it at the same time.

    Args:
        gpu_timer: Timer of the GPU that the worker uses.

    Attributes:
        seconds: The seconds so far, by stage.
    """

    def __init__(self, gpu_timer: GpuTimer) -> None:
        self.seconds = Seconds()
        self._gpu_timer, self._lock = gpu_timer, Lock()

    @contextmanager
    def enter_stage(self, stage: str) -> Iterator[None]:
        """Add the time spent in the context to a stage, the name of a field of `Seconds`.

        If the context raises an exception, nothing is added: the seconds of a video that fails are
        not used.
        """
        start = time.perf_counter()
        with self._gpu_timer.enter_stage(stage):
            yield
        elapsed = time.perf_counter() - start
        with self._lock:
            setattr(self.seconds, stage, getattr(self.seconds, stage) + elapsed)
