"""The in-process executor (``--workers 0``): one worker, no Ray; for debugging and tests.

A video that crashes or hangs the decoder takes this process with it: only Ray's workers
are guarded against that.
"""

from collections.abc import Callable
from dataclasses import replace

from flowkit.extract.interrupt import Interrupt
from flowkit.extract.job import Job, Outcome, Setup
from flowkit.extract.worker import Worker


def run_in_process(
    jobs: tuple[Job, ...],
    setup: Setup,
    begin: Callable[[int], None],
    count: Callable[[Outcome], None],
    interrupt: Interrupt,
) -> None:
    """Do the jobs one after another; what is complete is committed whatever ends the run."""
    worker = Worker(setup)
    interrupt.on_ask = worker.stop
    begin(0)
    try:
        for job in jobs:
            if interrupt.asked:
                break
            count(replace(worker.extract(job), attempts=job.attempt))
    finally:
        worker.close()
