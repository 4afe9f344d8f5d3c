"""The in-process executor (``--workers 0``): one worker, no Ray; for debugging and tests.

A video that crashes or hangs the decoder takes this process with it: only Ray's workers
are guarded against that.
"""

from collections.abc import Callable
from dataclasses import replace

from flowkit.extract.interrupt import Interrupt
from flowkit.extract.job import Job, Outcome, Setup
from flowkit.extract.occupancy import Occupancy
from flowkit.extract.worker import Worker


def run_in_process(
    jobs: tuple[Job, ...],
    setup: Setup,
    begin: Callable[[int, str], None],
    count: Callable[[Outcome], None],
    interrupt: Interrupt,
) -> None:
    """Do the jobs one after another; what is complete is committed whatever ends the run."""
    occupancy = Occupancy()
    worker = Worker(setup, occupancy=occupancy)
    interrupt.on_ask = worker.stop
    begin(0, setup.backend)
    try:
        for job in jobs:
            if interrupt.asked:
                break
            outcome = worker.extract(job)
            count(replace(outcome, attempts=job.attempt, gpu=occupancy.take()))
    finally:
        worker.close()
