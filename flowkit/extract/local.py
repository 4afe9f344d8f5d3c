"""The in-process executor (``--workers 0``): one worker, no Ray; for debugging and tests.

A video that crashes or hangs the decoder takes this process with it: only Ray's workers
are guarded against that.
"""

from collections.abc import Callable, Sequence
from typing import Any

from flowkit.extract.interrupt import Interrupt
from flowkit.extract.job import Work
from flowkit.extract.setup import Trade


def run_in_process(
    jobs: Sequence[Work],
    setup: Trade,
    begin: Callable[[int, str], None],
    count: Callable[[Any], None],
    interrupt: Interrupt,
) -> None:
    """Do the jobs one after another; what is complete is committed whatever ends the run."""
    worker = setup.make_worker()
    interrupt.on_ask = worker.stop
    begin(0, setup.backend)
    try:
        for job in jobs:
            if interrupt.asked:
                break
            count(worker.extract(job))
    finally:
        worker.close()
